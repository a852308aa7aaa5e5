package web

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// state is what a Server has at work.
type state struct {
	limits    Limits
	artifacts *artifacts
	admission *admission
	noise     noise
	mounts    mounts
	handlers  counter
	log       *slog.Logger

	serving sync.Mutex // guards servers
	servers int        // Serve calls at this moment

	requests, scripts, files, aborted, active, bytes, notFound, refused, stalled, former atomic.Int64
}

func (s *Server) init() *state {
	s.once.Do(func() {
		st := &state{limits: s.Limits.withDefaults(), log: s.Log}
		if st.log == nil {
			st.log = slog.New(slog.DiscardHandler)
		}
		st.artifacts = newArtifacts(s.Artifacts, st.log)
		st.artifacts.check = s.Verify
		st.admission = newAdmission(st.limits, s.trusted, func() { st.refused.Add(1) })
		s.state = st
	})
	return s.state
}

func (s *Server) log() *slog.Logger { return s.state.log }

func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:   cmp.Or(l.Connections, 4096),
		PerAddress:    cmp.Or(l.PerAddress, 128),
		HeaderTimeout: cmp.Or(l.HeaderTimeout, 10*time.Second),
		IdleTimeout:   cmp.Or(l.IdleTimeout, 2*time.Minute),
		Stall:         cmp.Or(l.Stall, 30*time.Second),
		MinRate:       cmp.Or(l.MinRate, 16<<10),
		Grace:         cmp.Or(l.Grace, 10*time.Second),
	}
}

// keepEvery is how often is looked at what nobody asks for.
const keepEvery = 15 * time.Second

// keep follows the artifacts and the certificate while nobody asks.
func (st *state) keep(ctx context.Context, cert *certificate) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		if st.artifacts.path != "" {
			st.artifacts.tidy()
		}
		st.mounts.flush(mountIdle)
		if cert != nil {
			cert.get()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// enter and leave count the listeners: the first lets hashing begin, the last
// waits for what still runs and lets go of all files.
func (st *state) enter() {
	st.serving.Lock()
	defer st.serving.Unlock()
	st.servers++
	st.artifacts.digests.resume()
}

func (st *state) leave() {
	st.serving.Lock()
	defer st.serving.Unlock()
	if st.servers--; st.servers > 0 {
		return
	}
	st.handlers.wait()
	st.mounts.flush(0)
	st.artifacts.close()
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	st := s.init()
	return Stats{
		Requests: st.requests.Load(), Scripts: st.scripts.Load(), Files: st.files.Load(), Aborted: st.aborted.Load(),
		Active: st.active.Load(), Bytes: st.bytes.Load(), NotFound: st.notFound.Load(), Connections: int64(st.admission.count()),
		Refused: st.refused.Load(), Stalled: st.stalled.Load(), FormerBuild: st.former.Load(),
	}
}

// ArtifactStatus looks at the artifacts' folder as it is now.
func (s *Server) ArtifactStatus() ArtifactStatus {
	st := s.init()
	if st.artifacts.path == "" {
		return ArtifactStatus{Error: "no artifacts folder is configured"}
	}
	return st.artifacts.status()
}

// noise bounds what is said of requests that cost their sender nothing.
type noise struct {
	mu     sync.Mutex
	second int64
	count  int
}

func (n *noise) allow() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now().Unix(); now != n.second {
		n.second, n.count = now, 0
	}
	n.count++
	return n.count <= 20
}

// counter is a WaitGroup that may begin anew at any time.
type counter struct {
	mu   sync.Mutex
	n    int
	zero *sync.Cond
}

func (c *counter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n += n; c.n == 0 && c.zero != nil {
		c.zero.Broadcast()
	}
}

func (c *counter) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zero == nil {
		c.zero = sync.NewCond(&c.mu)
	}
	for c.n > 0 {
		c.zero.Wait()
	}
}
