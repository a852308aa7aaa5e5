// Package dockertest starts real Docker daemons for tests.
package dockertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Missing says why no daemon can be started here; "": one can.
func Missing() string {
	switch _, err := exec.LookPath("dockerd"); {
	case os.Getuid() != 0:
		return "dockerd needs root"
	case err != nil:
		return "dockerd is not installed (apt-get install docker.io)"
	}
	return ""
}

// Daemon is a Docker daemon of the tests.
type Daemon struct {
	Socket string
	cmd    *exec.Cmd
	exited chan struct{}
	run    string
	log    bytes.Buffer
}

// Start starts a daemon with its images, containers and volumes in dir, and
// returns when it answers. Its containers have no network but that of the
// host, so that several daemons do not meet.
func Start(dir string) (*Daemon, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp("", "hks") // the path of a socket has to be short
	if err != nil {
		return nil, err
	}
	d := &Daemon{Socket: filepath.Join(run, "docker.sock"), run: run, exited: make(chan struct{})}
	d.cmd = exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(run, "exec"),
		"-H", "unix://"+d.Socket, "--pidfile", filepath.Join(run, "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false")
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.WaitDelay = &d.log, &d.log, time.Minute
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(run))
	}
	go func() { _ = d.cmd.Wait(); close(d.exited) }()
	if err := d.answers(); err != nil {
		d.Stop()
		return nil, fmt.Errorf("%w; it said: %s", err, d.log.String())
	}
	return d, nil
}

// New starts a daemon for one test, which is skipped where none can be started.
func New(t testing.TB) *Daemon {
	t.Helper()
	if reason := Missing(); reason != "" {
		t.Skip("no Docker daemon: " + reason)
	}
	d, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

// answers waits until the daemon does.
func (d *Daemon) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.Socket)
	}}
	defer transport.CloseIdleConnections()
	ping, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	for {
		if answer, err := transport.RoundTrip(ping); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-d.exited:
			return errors.New("dockerd ended")
		case <-ctx.Done():
			return errors.New("dockerd did not get ready in three minutes")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends the daemon. What it has in its folder stays.
func (d *Daemon) Stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(time.Minute):
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
	_ = os.RemoveAll(d.run)
}

// WriteContext writes a context of the docker command into its configuration
// folder, and returns where the context's certificates go.
func WriteContext(t testing.TB, dir, name, meta string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "meta.json"), []byte(meta), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "contexts", "tls", hex.EncodeToString(sum[:]), "docker")
}
