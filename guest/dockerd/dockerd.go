// Package dockerd is the applet "docker", the entry point of the service hook-docker.
//
// In go kernel arguments (syslog_host=, insecure_registries=, registry_mirrors=, registry_ca=, HTTP_PROXY= and its
// like) and the CA certificates in /etc/hooksmith/ca; out comes a dockerd on /var/run/docker.sock and nowhere else.
//
// It runs containerd beside dockerd, as its sibling and not as its child: dockerd then does not sit out the second that
// its own wait for a containerd takes. Measured with Debian's 26.1.5 on two cores, from start to the first answer:
// 1.35 s with a child, 0.40 s so, and 0.02 s instead of 1.0 s to end. Without the bridge and its 71 firewall commands it
// would be about a quarter less work (2.36 for 3.27 s in a deterministic QEMU, -icount), but actions may use bridge
// networking, so the bridge stays.
//
// Read Run first; daemon.go keeps the two processes, prepare.go makes the container fit for them.
package dockerd

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/atomicfile"
	"hooksmith/guest/bootlog"
	"hooksmith/guest/cmdline"
	"hooksmith/guest/dockerd/engine"
)

// Run runs dockerd until ctx is done; SIGHUP (read daemon.json again) and SIGUSR1 (dump the goroutines) go on to it.
// A line on stdout, which goes on to the consoles, says when it answers:
//
//	docker: ready (overlay2, 26.1.5+dfsg1) after 4.2s
//
// It needs all capabilities, the host's network, cgroup2 at /sys/fs/cgroup, /dev, /var/run and /var/lib/docker.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	begun := time.Now()
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	log := newLogger(stdout)

	// 1. What is asked for.
	params, err := cmdline.Load(o.cmdline)
	if err != nil {
		return err
	}
	s, problems := newSettings(params)
	for _, problem := range problems {
		log.boot.Print(problem)
	}
	// 2. Its configuration, and a container fit for docker.
	trusted, err := prepare(o, s, log)
	if err != nil {
		return err
	}
	// 3. The daemons, for as long as ctx lasts; dockerd ends first. Meanwhile the certificates that are elsewhere.
	var n nursery
	outer, stopContainerd := context.WithCancel(context.WithoutCancel(ctx))
	defer stopContainerd()
	var group, containerd sync.WaitGroup
	containerd.Go(func() { n.keep(outer, containerdDaemon(o.paths, stdout), log) })
	env := environment(o.paths, s, len(trusted.added) > 0)
	group.Go(func() {
		n.loadModules(log)
		n.keep(ctx, n.dockerd(ctx, o.paths, env, begun, stdout, log), log)
	})
	if len(s.caURLs) > 0 {
		group.Go(func() { trusted.fetch(ctx, s.caURLs, s.proxies, log) })
	}
	group.Wait()
	stopContainerd()
	containerd.Wait()
	n.aside.Wait()
	return nil
}

// prepare writes what the daemons read, and makes the container fit for them. Where something of the latter is missing
// dockerd may still do, and says more; so that is only logged.
func prepare(o options, s settings, log logger) (*authorities, error) {
	if pid := runsAlready(o.paths); pid != 0 {
		return nil, fmt.Errorf("a dockerd runs already with pid %d", pid)
	}
	if os.Getenv("PATH") == "" { // a container without one; dockerd looks for runc and iptables there too
		os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	problems, err := writeConfig(o.paths, s)
	if err != nil {
		return nil, err
	}
	trusted := &authorities{paths: o.paths, hosts: s.hosts}
	trusted.addBaked(log)
	if len(s.caURLs) > 0 {
		problems = append(problems, trusted.writeBundle(), atomicfile.Write(trusted.pending(), nil))
	}
	problems = append(problems, removeStale(o.paths), shareMounts(), nestCgroups(o.cgroup))
	for _, problem := range problems {
		if problem != nil {
			log.boot.Print(problem)
		}
	}
	return trusted, nil
}

// options are the applet's arguments. Their defaults are those of the service.
type options struct {
	cmdline string
	cgroup  string
	paths   paths
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("docker", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.cmdline, "cmdline", cmdline.Path, "`file` with the kernel arguments")
	flags.StringVar(&o.cgroup, "cgroup", "/sys/fs/cgroup", "`folder` where cgroup2 is mounted")
	flags.StringVar(&o.paths.run, "run", "/var/run", "`folder` for docker.sock and what does not outlive the machine")
	flags.StringVar(&o.paths.data, "data", "/var/lib/docker", "`folder` for images and containers")
	flags.StringVar(&o.paths.etc, "etc", "/etc/docker", "`folder` with daemon.json and certs.d")
	flags.StringVar(&o.paths.bundle, "bundle", "/etc/ssl/certs/ca-certificates.crt", "`file` with the system's CA certificates")
	flags.StringVar(&o.paths.baked, "ca", "/etc/hooksmith/ca", "`folder` with CA certificates to add, *.crt")
	err := flags.Parse(args)
	return o, err
}

// logger has two voices: log is for the service's log, boot goes on to the consoles.
type logger struct {
	log, boot *log.Logger
}

func newLogger(stdout io.Writer) logger {
	return logger{log: log.New(stdout, "docker: ", 0), boot: log.New(stdout, bootlog.Prefix+"docker: ", 0)}
}

// environment is what dockerd gets beside our own. extra says that there are certificates of ours, or will be.
func environment(p paths, s settings, extra bool) []string {
	env := append([]string(nil), s.proxies...)
	if extra || len(s.caURLs) > 0 {
		env = append(env, "SSL_CERT_FILE="+p.ours("ca-certificates.crt"))
	}
	if mounts, err := os.Open("/proc/self/mountinfo"); err == nil {
		defer mounts.Close()
		if !pivotable(mounts) {
			env = append(env, "DOCKER_RAMDISK=1")
		}
	}
	return env
}

// loadModules runs modprobe. What it says is for the log: dockerd names what it misses.
func (n *nursery) loadModules(log logger) {
	cmd := modprobe()
	if cmd == nil {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := n.start(cmd)
	if err != nil {
		log.log.Print(err)
		return
	}
	<-c.ended
	if c.status != 0 {
		log.log.Printf("not every module was loaded (modprobe: %s); they may be built in", c.words())
	}
}

func containerdDaemon(p paths, output io.Writer) daemon {
	return daemon{
		name: "containerd",
		command: func() *exec.Cmd {
			return exec.Command("containerd", "--config", p.ours("containerd.toml"), "--log-level", "warn")
		},
		grace:   5 * time.Second,
		started: func(*child, int) {},
		output:  output,
	}
}

// dockerd is dockerd; begun is when the applet was, for the line that says it is ready.
func (n *nursery) dockerd(ctx context.Context, p paths, env []string, begun time.Time, output io.Writer, log logger) daemon {
	return daemon{
		name: "dockerd",
		command: func() *exec.Cmd {
			pidfile := filepath.Join(p.run, "docker.pid")
			_ = os.Remove(pidfile) // of one that was killed; dockerd would take another process for it
			cmd := exec.Command("dockerd",
				"--config-file", p.ours("daemon.json"),
				"--host", "unix://"+p.socket(),
				"--containerd", p.containerdSocket(),
				"--pidfile", pidfile,
				"--exec-root", p.exec(),
				"--data-root", p.data)
			cmd.Env = append(cmd.Environ(), env...)
			return cmd
		},
		grace: 20 * time.Second,
		started: func(c *child, count int) {
			since := begun
			if count > 0 {
				since = time.Now()
			}
			n.aside.Go(func() { passSignals(c) })
			n.aside.Go(func() { tellReady(ctx, engine.New(p.socket()), c, since, log) })
		},
		output: output,
	}
}

// passSignals passes signals on until the child has ended.
func passSignals(c *child) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGHUP, unix.SIGUSR1)
	defer signal.Stop(signals)
	for {
		select {
		case s := <-signals:
			c.signal(s.(unix.Signal))
		case <-c.ended:
			return
		}
	}
}

// tellReady says when the daemon answers, or that it does not.
func tellReady(ctx context.Context, client *engine.Client, c *child, since time.Time, log logger) {
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for client.Ping(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-c.ended:
			return
		case <-late.C:
			log.boot.Printf("dockerd does not answer after %.0f s; its words are in this service's log", time.Since(since).Seconds())
		case <-time.After(50 * time.Millisecond):
		}
	}
	took := time.Since(since)
	info, err := client.Info(ctx)
	if err != nil {
		log.boot.Printf("ready after %.1fs, but does not say more: %v", took.Seconds(), err)
		return
	}
	log.boot.Printf("ready (%s, %s) after %.1fs", info.Driver, info.ServerVersion, took.Seconds())
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
