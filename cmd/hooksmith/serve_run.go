package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"hooksmith/serve"
)

// serve binds everything, says what is where, and serves until the first
// signal. That is how a server ends: no error.
func (a *app) serve(ctx context.Context, plan *serve.Plan) error {
	server, err := plan.Open(ctx)
	if err != nil {
		return servable(err)
	}
	fmt.Fprint(a.stderr, server.Summary())
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	go func() {
		for range hangups {
			a.reload(server)
		}
	}()
	defer close(hangups)
	a.notifySystemd("READY=1")
	err = server.Run(ctx)
	if err == nil && ctx.Err() != nil {
		fmt.Fprintln(a.stderr, "stopped")
	}
	return err
}

// reload reads the hardware data again, as after SIGHUP.
func (a *app) reload(server *serve.Server) {
	if err := server.Reload(); err != nil {
		a.log.Error("hardware data: the machines of before stay in use", "error", err)
		return
	}
	a.log.Info("hardware data read again")
}

// notifySystemd tells systemd how the service is (sd_notify(3)), if it asked.
func (a *app) notifySystemd(state string) {
	name, ok := a.lookupEnv("NOTIFY_SOCKET")
	if !ok || name == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		a.log.Warn("telling systemd", "error", err)
	}
}

// dropRights makes root an ordinary user with the rights to bind ports, by
// running this program again; it returns only if there is nothing to do.
func (a *app) dropRights(loaded *serve.Loaded, check bool) error {
	if loaded.User == "" || os.Geteuid() != 0 {
		return nil
	}
	if check {
		return serve.CheckUser(loaded.User)
	}
	if err := os.MkdirAll(loaded.State, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	self, err = filepath.EvalSymlinks(self)
	if err != nil {
		return err
	}
	return serve.RunAs(loaded.User, loaded.State, self, os.Args, os.Environ())
}
