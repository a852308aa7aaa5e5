package network

import (
	"context"
	"log"
	"sync"
	"time"
)

// manager keeps one port for every interface that the plan wants, for as long as the interface is there.
type manager struct {
	plan      plan
	log       *log.Logger
	random    <-chan struct{} // closed when DHCP has its random numbers
	publisher *publisher

	ports map[int]*port // by the index of the link
	group sync.WaitGroup
	seen  []link
}

// run watches the links until ctx is done. It lists them all anew at each change, rather than following the changes
// one by one: the list is short, and nothing is missed when the kernel drops a message.
func (m *manager) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.group.Wait()
	defer cancel()

	changed := make(chan struct{}, 1)
	reminder := newReminder(3*time.Second, 5*time.Minute)
	defer reminder.Stop()
	for ctx.Err() == nil {
		broken, err := subscribe(changed, ctx.Done())
		if err != nil {
			m.log.Print(err)
			pause(ctx, time.Second)
			continue
		}
		m.follow(ctx, changed, broken, reminder)
	}
	return nil
}

// follow reconciles at each change until the subscription is broken or ctx is done.
func (m *manager) follow(ctx context.Context, changed <-chan struct{}, broken <-chan struct{}, reminder *reminder) {
	for {
		links, err := listLinks()
		if err != nil {
			m.log.Print(err)
			pause(ctx, time.Second)
			continue
		}
		m.reconcile(ctx, links)
		select {
		case <-ctx.Done():
			return
		case <-broken:
			pause(ctx, 100*time.Millisecond)
			return
		case <-changed:
		case <-reminder.C:
			reminder.again()
			if len(m.ports) == 0 {
				m.log.Print(m.plan.waiting(m.seen))
			}
		}
	}
}

// reconcile starts ports for new links, ends those of links that went or became another, and tells the rest of their
// link's state.
func (m *manager) reconcile(ctx context.Context, links []link) {
	m.seen = links
	wanted := map[int]link{}
	for _, l := range links {
		if m.plan.wants(l) {
			wanted[l.index] = l
		}
	}
	for index, p := range m.ports {
		if l, ok := wanted[index]; !ok || !p.link.same(l) {
			m.log.Printf("%s is gone", p.link.name)
			p.stop()
			delete(m.ports, index)
		}
	}
	for index, l := range wanted {
		p, ok := m.ports[index]
		if !ok {
			p = m.start(ctx, l)
			m.ports[index] = p
		}
		p.carrier.set(l.running, carrierChanges(l))
	}
}

// start runs a port for l.
func (m *manager) start(ctx context.Context, l link) *port {
	ctx, cancel := context.WithCancel(ctx)
	p := &port{
		plan:      m.plan,
		link:      l,
		log:       m.log,
		random:    m.random,
		carrier:   newCarrier(),
		publisher: m.publisher,
	}
	done := make(chan struct{})
	p.stop = func() {
		cancel()
		<-done
		p.publisher.remove(l.index)
	}
	m.group.Go(func() {
		defer close(done)
		p.run(ctx)
	})
	return p
}

// carrier tells whether a link is up and has a carrier. Its changes can be waited for, and are counted, so that one who
// was busy sees that it was away. All methods may be called at the same time.
type carrier struct {
	mu      sync.Mutex
	state   carrierState
	changes int // the kernel's own count
	changed chan struct{}
}

// carrierState is on or off, in its how many-th period of being on.
type carrierState struct {
	on     bool
	period int
}

func newCarrier() *carrier {
	return &carrier{changed: make(chan struct{})}
}

// set records what the kernel tells of the link: whether it has a carrier, and how often that has changed. The kernel
// tells of a loss only a second later, when the carrier may be back already; the count gives it away.
func (c *carrier) set(on bool, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	away := on && c.state.on && changes != c.changes
	c.changes = changes
	if c.state.on == on && !away {
		return
	}
	c.state.on = on
	if on {
		c.state.period++
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// get returns the state and a channel that is closed at its next change.
func (c *carrier) get() (state carrierState, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.changed
}

// while returns a context that also ends when the carrier goes.
func (c *carrier) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	state, changed := c.get()
	if !state.on {
		cancel()
		return ctx, cancel
	}
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// reminder ticks when it is time to repeat what is waited for: soon at first, then ever more seldom.
type reminder struct {
	*time.Timer
	next, most time.Duration
}

func newReminder(first, most time.Duration) *reminder {
	return &reminder{Timer: time.NewTimer(first), next: first, most: most}
}

// again arms the reminder after it has ticked.
func (r *reminder) again() {
	r.next = min(3*r.next, r.most)
	r.Reset(r.next)
}
