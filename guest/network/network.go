package network

import (
	"context"
	"flag"
	"io"
	"log"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/cmdline"
)

// Run configures the network until ctx is done. It says on stdout, in lines that go on to the consoles, what is up and
// what it waits for; "network: eth0 up 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3" is what boot tests look for.
//
// It needs CAP_NET_ADMIN and CAP_NET_RAW in the host's network namespace, CAP_SYS_ADMIN if it is to set the hostname,
// and the host's /run writable. Interfaces keep their configuration when it ends: a restarted one takes them over.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("network", flag.ContinueOnError)
	flags.SetOutput(stderr)
	args0 := flags.String("cmdline", cmdline.Path, "`file` with the kernel arguments")
	run := flags.String("run", "/run", "`folder` that gets resolvconf/resolv.conf and network/*")
	if err := flags.Parse(args); err != nil {
		return err
	}
	logger := log.New(stdout, bootlog.Prefix+"network: ", 0)

	// 1. What the kernel arguments ask for; a wrong one is said and left out, for a machine without network cannot be
	// helped from afar.
	params, err := cmdline.Load(*args0)
	if err != nil {
		return err
	}
	plan, problems := newPlan(params)
	for _, problem := range problems {
		logger.Print(problem)
	}
	logger.Print(plan)

	// 2. Random numbers, which only DHCP needs and which may take a while: links come up meanwhile.
	random := make(chan struct{})
	go func() {
		defer close(random)
		awaitRandom(logger)
	}()

	// 3. Every interface the plan wants, for as long as it is there.
	m := &manager{
		plan:      plan,
		log:       logger,
		random:    random,
		publisher: newPublisher(*run, plan.ntp, logger),
		ports:     map[int]*port{},
	}
	return m.run(ctx)
}

// awaitRandom returns when the kernel's random number generator is ready. The DHCP library only polls
// getrandom(GRND_NONBLOCK), which never makes the kernel start its jitter collector: on a machine without RDRAND it
// would spin for minutes, where one blocking call takes about a second.
func awaitRandom(log *log.Logger) {
	start := time.Now()
	var b [1]byte
	for {
		if _, err := unix.Getrandom(b[:], 0); err != unix.EINTR {
			break
		}
	}
	if took := time.Since(start); took > time.Second {
		log.Printf("waited %.1f s for the kernel's random numbers; a virtio-rng device or a CPU with RDRAND saves that",
			took.Seconds())
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
