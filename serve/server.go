package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hooksmith/serve/admin"
	"hooksmith/serve/event"
	"hooksmith/serve/lease"
	"hooksmith/serve/syslog"
	"hooksmith/serve/timeline"
	"hooksmith/serve/web"
)

// Server is a boot server whose sockets are bound and whose files are open.
// Make it with Plan.Open, then Run it, or Close it.
type Server struct {
	plan     *Plan
	log      *slog.Logger
	timeline *timeline.Timeline
	metrics  *admin.Metrics
	events   event.Sink
	web      *web.Server
	syslog   *syslog.Server // nil: none is received
	token    string

	parts   []part
	closers []io.Closer // in the order of opening
}

// part is something that serves until its context ends.
type part struct {
	name, address, detail string
	serve                 func(ctx context.Context) error
}

// Open opens the state, then binds every socket. Nothing is answered before
// Run. An error leaves nothing open; it names the part and the way out.
func (p *Plan) Open(ctx context.Context) (*Server, error) {
	if p.opt.Anywhere {
		return nil, errors.New("a plan for anywhere cannot be opened")
	}
	s := &Server{plan: p, log: p.opt.Log, metrics: admin.NewMetrics()}
	// What must be there (the state folder with leases and boots, the token),
	// then the sockets, all of them, before the first answer.
	for _, open := range []func(context.Context) error{
		s.openState, s.openToken, s.bindDHCP, s.bindTFTP, s.bindWeb, s.bindSyslog, s.bindRA, s.bindAdmin,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, s.closeAll())
		}
	}
	return s, nil
}

// What is in the state folder.
const leasesName, timelineName = "leases.db", "timeline.db"

// openState opens what outlives the server.
func (s *Server) openState(context.Context) (err error) {
	p, b := s.plan, s.plan.boots
	if p.Config.State == "" {
		return errors.New("state: no folder for leases, boots and logs; name one with --state")
	}
	if err := os.MkdirAll(p.Config.State, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if !p.Config.proxies() && p.Config.DHCPMode != off {
		b.leases, err = lease.Open(filepath.Join(p.Config.State, leasesName), lease.Options{Log: s.log, Now: p.opt.Now})
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
		s.closers = append(s.closers, b.leases)
	}
	s.timeline, err = timeline.Open(timeline.Options{
		Path: filepath.Join(p.Config.State, timelineName), Log: s.log, Now: p.opt.Now,
		Limits: timeline.Limits{LogBytes: p.Config.SyslogPerHost},
		Lookup: b.hardware.Lookup, LookupIP: b.hardware.LookupIP,
		Reached: s.metrics.Reached,
	})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	s.closers = append(s.closers, s.timeline)
	s.events = fanOut(s.metrics.Event, s.timeline.Event, s.toDHCP) // DHCP and HTTP log themselves
	return nil
}

// toDHCP tells the DHCP server what became of its answers: so it knows loops.
func (s *Server) toDHCP(e event.Event) {
	if d := s.plan.boots.dhcp; d != nil {
		d.Observe(e)
	}
}

// Run serves until ctx ends, then lets running downloads end and closes
// everything; it returns nil then. The first part that fails ends all others,
// and its error names it.
func (s *Server) Run(ctx context.Context) error {
	b := s.plan.boots
	cancel := b.hardware.Subscribe(b.changed(s.log))
	defer cancel()
	unmark, err := s.mark()
	if err != nil {
		return errors.Join(err, s.closeAll())
	}
	defer unmark()

	// The timeline records until the last part has ended.
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		s.timeline.Run(recording)
	}()

	group, serving := errgroup.WithContext(ctx)
	group.Go(func() error { b.hardware.Run(serving); return nil })
	for _, each := range s.parts {
		group.Go(func() error {
			err := each.serve(serving)
			if err == nil && serving.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				return fmt.Errorf("%s (%s): %w", each.name, each.address, err)
			}
			return nil
		})
	}
	err = group.Wait()
	stop()
	<-recorded
	return errors.Join(err, s.closeAll())
}

// Close closes a server that has not been run.
func (s *Server) Close() error { return s.closeAll() }

// closeAll closes the newest first.
func (s *Server) closeAll() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// add registers a part that is bound.
func (s *Server) add(name, address, detail string, serve func(ctx context.Context) error) {
	s.parts = append(s.parts, part{name, address, detail, serve})
}

// now is the clock of the options.
func (s *Server) now() time.Time { return s.plan.opt.Now() }
