// Package bootkit is the applet that starts the Tinkerbell worker (or agent), the container for which all of HookOS is.
//
// In go kernel arguments (tink_worker_image=, docker_registry=, registry_username=, grpc_authority=, worker_id= ...);
// out comes a container "tink-worker" that runs, and is started again when it ends. What happens is said on the console
// in words, with what to do about it: the operator in front of it sees nothing else.
//
// A container is started again by bootkit and not by a restart policy of docker's, so that its end is told with its
// last words, and since there is one place to look for the reason. Read Run, then image.go and worker.go.
package bootkit

import (
	"context"
	"flag"
	"io"
	"log"
	"time"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/cmdline"
	"hooksmith/guest/dockerd/engine"
)

// bootkit is one run of the applet.
type bootkit struct {
	config    config
	docker    *engine.Client
	network   string        // status.json of the network service
	caPending string        // the file that is there while CA certificates are to come
	patience  time.Duration // for both
	log       *log.Logger
}

// Run keeps a worker running until ctx is done, and leaves it running then. Its lines on stdout go on to the consoles;
// no secret is in them.
//
// It needs docker's socket, and can use the folder /run/network.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bootkit", flag.ContinueOnError)
	flags.SetOutput(stderr)
	arguments := flags.String("cmdline", cmdline.Path, "`file` with the kernel arguments")
	socket := flags.String("socket", "/var/run/docker.sock", "docker's `socket`")
	network := flags.String("network", "/run/network/status.json", "`file` in which the network service tells its state")
	pending := flags.String("ca-pending", "/var/run/hook-docker/ca-pending", "`file` that is there while docker lacks CA certificates")
	patience := flags.Duration("patience", 15*time.Second, "how long at most to wait for the network and the certificates")
	if err := flags.Parse(args); err != nil {
		return err
	}

	// 1. What is asked for. The kernel arguments do not change, so without an image there is nothing to do but say so.
	params, err := cmdline.Load(*arguments)
	if err != nil {
		return err
	}
	config, problems, err := newConfig(params)
	b := &bootkit{
		config:    config,
		docker:    engine.New(*socket),
		network:   *network,
		caPending: *pending,
		patience:  *patience,
		log:       log.New(redactor{stdout, config.secrets}, bootlog.Prefix+"bootkit: ", 0),
	}
	for _, problem := range problems {
		b.log.Print(problem)
	}
	for ctx.Err() == nil && err != nil {
		b.log.Print(err)
		pause(ctx, 10*time.Minute)
	}

	// 2. The worker, from the beginning again whenever docker did not do as it should.
	for wait := firstRetry; ctx.Err() == nil; wait = min(2*wait, lastRetry) {
		begun := time.Now()
		err := b.run(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(begun) > steady {
			wait = firstRetry
		}
		b.log.Printf("%v; trying again in %s", err, wait)
		pause(ctx, wait)
	}
	return nil
}

// The waits between two tries to get a worker.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 30 * time.Second
)

// run gets a worker running and stays with it. It returns with an error, or when ctx is done.
func (b *bootkit) run(ctx context.Context) error {
	// 1. A docker that answers.
	b.awaitDocker(ctx)
	// 2. A worker of ours that runs already needs nothing.
	id, ok, err := b.running(ctx)
	if err != nil {
		return err
	}
	if ok {
		b.log.Printf("worker runs already (container %s)", shortID(id))
		return b.follow(ctx, worker{id, networkUp(b.network)})
	}
	// 3. Its image, and a container of it. Without a network too: the image may be here, and the network come later.
	b.awaitFor(ctx, "the network", func() bool { return networkUp(b.network) })
	if err := b.getImage(ctx); err != nil {
		return err
	}
	started, err := b.startWorker(ctx)
	if err != nil {
		return err
	}
	b.log.Printf("worker started (image %s, container %s)", b.config.image, shortID(started.id))
	return b.follow(ctx, started)
}

// awaitDocker returns when docker answers or ctx is done.
func (b *bootkit) awaitDocker(ctx context.Context) {
	begun, next := time.Now(), 10*time.Second
	for ctx.Err() == nil {
		err := b.docker.Ping(ctx)
		if err == nil {
			return
		}
		if waited := time.Since(begun); waited > next {
			next *= 3
			b.log.Printf("waiting for docker for %.0f s: %v", waited.Seconds(), err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// pause waits for d, or less if ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
