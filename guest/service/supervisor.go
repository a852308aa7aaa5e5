package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/logfile"
	"hooksmith/guest/oci"
	"hooksmith/guest/reaper"
)

// Grace is how long a service may take to end before it is killed. dockerd gives its containers 15 s.
const Grace = 20 * time.Second

// Options are what a Supervisor works with.
type Options struct {
	Runc    oci.Runc
	Exits   *reaper.Exits // what PID 1 tells
	LogDir  string        // /var/log
	Log     *bootlog.Log
	Backoff Backoff
	Grace   time.Duration // 0 means Grace
	// MirrorAll sends all that containers print to the consoles.
	MirrorAll bool
}

// Supervisor runs containers. Its methods are safe for concurrent use.
type Supervisor struct {
	options Options

	// slots has a place for each container that may be started at a time: as many as there are processors. More would
	// only make all of them late.
	slots chan struct{}

	mu    sync.Mutex
	units []*unit
	once  []*container // onboot and onshutdown, for List
	wg    sync.WaitGroup
}

// New makes a Supervisor without services.
func New(o Options) *Supervisor {
	if o.Grace == 0 {
		o.Grace = Grace
	}
	return &Supervisor{options: o, slots: make(chan struct{}, runtime.NumCPU())}
}

// ErrNotFound is a name of no service.
var ErrNotFound = errors.New("no such service")

// Add keeps the container in dir running until ctx ends; then it is stopped. Wait waits for that. Add returns when its
// turn has come to be started, so services are started in the order of the calls.
func (s *Supervisor) Add(ctx context.Context, dir string) {
	u := &unit{container: s.container("service", dir), commands: make(chan command), backoff: s.options.Backoff, tried: make(chan struct{})}
	s.mu.Lock()
	s.units = append(s.units, u)
	s.mu.Unlock()
	if u.acquire(ctx) == nil {
		s.wg.Go(func() { u.run(ctx) })
	}
}

// Tried returns when each service has been started once, or could not be, or ctx has ended.
func (s *Supervisor) Tried(ctx context.Context) {
	s.mu.Lock()
	units := slices.Clone(s.units)
	s.mu.Unlock()
	for _, u := range units {
		select {
		case <-u.tried:
		case <-ctx.Done():
		}
	}
}

// Wait returns when all services have ended, after the end of their contexts.
func (s *Supervisor) Wait() { s.wg.Wait() }

// Once runs the container in dir to its end. A failure is also told on the consoles.
func (s *Supervisor) Once(ctx context.Context, kind, dir string) error {
	c := s.container(kind, dir)
	s.mu.Lock()
	s.once = append(s.once, c)
	s.mu.Unlock()
	begin := time.Now()
	status, err := c.runOnce(ctx)
	if err == nil && status != 0 {
		err = errors.New(reaper.Describe(status))
	}
	took := time.Since(begin).Round(time.Millisecond)
	if err != nil {
		c.set(Failed, err.Error())
		message := fmt.Sprintf("%s %s FAILED: %v after %v; log: %s", kind, c.info.Name, err, took, c.info.Log)
		if last := c.out.lastLine(); last != "" {
			message += "; last line: " + last
		}
		s.options.Log.Printf("%s", message)
		return fmt.Errorf("%s %s: %w", kind, c.info.Name, err)
	}
	c.set(Finished, reaper.Describe(status))
	s.options.Log.Printf("%s %s done in %v", kind, c.info.Name, took)
	return nil
}

// List says how all containers are, onboot ones first.
func (s *Supervisor) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Info
	for _, c := range s.once {
		list = append(list, c.current())
	}
	for _, u := range s.units {
		list = append(list, u.current())
	}
	return list
}

// Do starts, stops or restarts a service and returns when that is done.
func (s *Supervisor) Do(ctx context.Context, verb Verb, name string) error {
	s.mu.Lock()
	var found *unit
	for _, u := range s.units {
		if u.info.Name == name {
			found = u
		}
	}
	s.mu.Unlock()
	if found == nil {
		return fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return found.do(ctx, verb)
}

// container makes what both kinds have in common.
func (s *Supervisor) container(kind, dir string) *container {
	name := filepath.Base(dir)
	id, log := name, filepath.Join(s.options.LogDir, name+".log")
	if kind != "service" {
		id, log = kind+"."+name, filepath.Join(s.options.LogDir, kind+"."+name+".log")
	}
	c := &container{
		options: s.options, dir: dir, id: id, slots: s.slots,
		info: Info{Name: name, Kind: kind, State: Starting, Since: time.Now(), Log: log},
		out:  &output{name: name, mirror: func(line string) { s.options.Log.Printf("%s", line) }},
	}
	if s.options.MirrorAll {
		c.out.all = mirrorAll
	}
	return c
}

// container is one container, run once or again and again.
type container struct {
	options  Options
	dir, id  string
	bundle   oci.Bundle
	prepared bool
	out      *output
	slots    chan struct{}
	holding  bool // a slot

	mu   sync.Mutex
	info Info
}

func (c *container) current() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

// set changes the state; last is why, "" keeps the earlier reason.
func (c *container) set(state State, last string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info.State, c.info.Since = state, time.Now()
	if state != Running && state != Stopping {
		c.info.PID = 0
	}
	if last != "" {
		c.info.Last = bootlog.Clean(last)
	}
}

// prepare reads the container, mounts its root and opens its log. What is done is not done again: a service keeps its
// writable layer when it is restarted.
func (c *container) prepare() error {
	if c.prepared {
		return nil
	}
	bundle, err := oci.Load(c.dir)
	if err != nil {
		return err
	}
	log, err := logfile.Open(c.info.Log, 0)
	if err != nil {
		return err
	}
	if err := oci.Apply(bundle.Runtime.Plan()); err != nil {
		log.Close()
		return err
	}
	c.bundle, c.out.log, c.prepared = bundle, log, true
	return nil
}

// acquire waits for a slot, in the order of the calls.
func (c *container) acquire(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		c.holding = true
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to start %s: %w", c.info.Name, ctx.Err())
	}
}

func (c *container) release() {
	if c.holding {
		c.holding = false
		<-c.slots
	}
}

// start creates and starts the container, in a slot.
func (c *container) start(ctx context.Context) (*process, error) {
	if !c.holding {
		if err := c.acquire(ctx); err != nil {
			return nil, err
		}
	}
	defer c.release()
	if err := c.prepare(); err != nil {
		return nil, err
	}
	writer, err := c.out.open()
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	mark := c.options.Exits.Mark()
	pid, err := c.options.Runc.Start(ctx, c.id, c.bundle, writer)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.info.PID = pid
	c.mu.Unlock()
	c.set(Running, "")
	return follow(pid, c.options.Exits, mark), nil
}

// clean removes what is left of the container and waits for the rest of its output.
func (c *container) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), c.options.Grace)
	defer cancel()
	if err := c.options.Runc.Delete(ctx, c.id); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.options.Log.Debugf("%s %s: %v", c.info.Kind, c.info.Name, err)
	}
	select {
	case <-c.out.done:
	case <-time.After(time.Second): // a process that left the container still has its output open
	}
}

// runOnce is start, wait and clean.
func (c *container) runOnce(ctx context.Context) (unix.WaitStatus, error) {
	p, err := c.start(ctx)
	if err != nil {
		return 0, err
	}
	defer p.close()
	defer c.clean()
	status, err := p.wait(ctx)
	if err != nil {
		p.stop(context.WithoutCancel(ctx), c.options.Grace)
	}
	return status, err
}
