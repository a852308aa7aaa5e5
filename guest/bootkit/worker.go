package bootkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hooksmith/guest/dockerd/engine"
)

// workerName is the container's name, which operators and actions know.
const workerName = "tink-worker"

// specLabel is a label with the hash of all that a worker was made from. It tells a bootkit that was restarted that the
// worker which runs is its own: that one may be writing a disk, and must not be replaced.
const specLabel = "hooksmith.bootkit.spec"

// spec is the worker's container. A missing source of Mounts is an error that names it; /host_root is only there where
// the docker service was given the host's root, and else an empty folder.
func (c config) spec() engine.Spec {
	s := engine.Spec{
		Image: c.image,
		Env:   c.env,
		HostConfig: engine.HostConfig{
			NetworkMode: "host",
			Privileged:  true,
			Binds:       []string{"/host_root/run:/run"},
			Mounts: []engine.Mount{
				{Type: "bind", Source: "/worker", Target: "/worker"},
				{Type: "bind", Source: "/var/run/docker.sock", Target: "/var/run/docker.sock"},
				{Type: "bind", Source: "/dev", Target: "/dev"},
			},
		},
	}
	text, err := json.Marshal(s)
	if err != nil { // strings and booleans always marshal
		return s
	}
	sum := sha256.Sum256(text)
	s.Labels = map[string]string{specLabel: hex.EncodeToString(sum[:])}
	return s
}

// running returns the id of the worker if it runs and is as it shall be.
func (b *bootkit) running(ctx context.Context) (id string, ok bool, err error) {
	found, ok, err := b.docker.Inspect(ctx, workerName)
	if err != nil || !ok {
		return "", false, err
	}
	same := found.Config.Labels[specLabel] == b.config.spec().Labels[specLabel]
	return found.ID, found.State.Running && same, nil
}

// worker is a container that was started.
type worker struct {
	id     string
	online bool // there was a network before it started; one that comes while it starts is too late for its resolv.conf
}

// startWorker makes the container anew and starts it.
func (b *bootkit) startWorker(ctx context.Context) (worker, error) {
	if err := b.docker.Remove(ctx, workerName); err != nil {
		return worker{}, fmt.Errorf("removing the old worker: %w", err)
	}
	online := networkUp(b.network)
	spec := b.config.spec()
	id, err := b.makeWorker(ctx, spec)
	if err != nil && strings.Contains(err.Error(), "logging driver") {
		// The syslog driver resolves its server's name, and needs a route to it, before a container starts.
		b.log.Printf("%v; the worker starts without syslog", err)
		spec.HostConfig.LogConfig = &engine.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}}
		if err := b.docker.Remove(ctx, workerName); err != nil {
			return worker{}, fmt.Errorf("removing the worker that did not start: %w", err)
		}
		id, err = b.makeWorker(ctx, spec)
	}
	return worker{id, online}, err
}

func (b *bootkit) makeWorker(ctx context.Context, spec engine.Spec) (id string, err error) {
	if id, err = b.docker.Create(ctx, workerName, spec); err != nil {
		return "", fmt.Errorf("making the worker's container: %w", err)
	}
	if err := b.docker.Start(ctx, id); err != nil {
		return "", fmt.Errorf("starting the worker: %w", err)
	}
	return id, nil
}

// The waits before a worker that ended is started again; they begin anew after one that ran for steady.
const (
	firstRestart = time.Second
	lastRestart  = time.Minute
	steady       = time.Minute
)

// follow watches a worker that runs, says how it ends, and starts it again. It returns when docker refuses that, or
// does not answer.
func (b *bootkit) follow(ctx context.Context, w worker) error {
	for wait := firstRestart; ; wait = min(2*wait, lastRestart) {
		begun := time.Now()
		code, err := b.awaitEnd(ctx, w)
		if err != nil {
			return err
		}
		if time.Since(begun) > steady {
			wait = firstRestart
		}
		b.tellEnd(ctx, w.id, code, time.Since(begun), wait)
		pause(ctx, wait)
		w.online = networkUp(b.network)
		if err := b.docker.Start(ctx, w.id); err != nil {
			return fmt.Errorf("starting the worker again: %w", err)
		}
		b.log.Printf("worker started again (container %s)", shortID(w.id))
	}
}

// awaitEnd returns the exit code of the worker when it ends. A worker that was started before there was a network is
// restarted once there is: docker has given it a resolv.conf without a server in it.
func (b *bootkit) awaitEnd(ctx context.Context, w worker) (code int, err error) {
	if w.online {
		return b.docker.Wait(ctx, w.id)
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := b.docker.Wait(waiting, w.id)
		ended <- end{code, err}
	}()
	for {
		select {
		case e := <-ended:
			return e.code, e.err
		case <-time.After(time.Second):
		}
		if networkUp(b.network) {
			stop()
			<-ended
			b.log.Print("the network is up: restarting the worker, which was started without it")
			if err := b.docker.Restart(ctx, w.id, 2); err != nil {
				return 0, fmt.Errorf("restarting the worker: %w", err)
			}
			return b.docker.Wait(ctx, w.id)
		}
	}
}

// lastWords is how many lines of its log a worker that ended leaves on the console.
const lastWords = 8

// tellEnd says how the worker ended, with the last lines that it wrote.
func (b *bootkit) tellEnd(ctx context.Context, id string, code int, after, wait time.Duration) {
	how := fmt.Sprintf("exit code %d", code)
	if found, ok, err := b.docker.Inspect(ctx, id); err == nil && ok {
		if found.State.OOMKilled {
			how += ", killed for lack of memory"
		}
		if found.State.Error != "" {
			how += ": " + found.State.Error
		}
	}
	b.log.Printf("worker ended after %.1fs with %s; starting it again in %s", after.Seconds(), how, wait)
	lines, err := b.docker.Logs(ctx, id, lastWords)
	if err != nil {
		b.log.Printf("its log cannot be read: %v", err)
	}
	for _, line := range lines {
		b.log.Printf("worker: %s", line[:min(len(line), 500)])
	}
}
