package network

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"
)

// port is the life of one interface, from its appearance until it is gone.
type port struct {
	plan      plan
	link      link
	log       *log.Logger
	random    <-chan struct{}
	carrier   *carrier // is up and has a carrier; the manager sets it
	publisher *publisher
	stop      func() // ends run and waits for it
}

// retryWait is the pause after something failed that should not: netlink refused, a socket broke.
const retryWait = 5 * time.Second

// run configures the interface and keeps it so until ctx is done.
func (p *port) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.log.Printf("%v; trying again in %s", err, retryWait)
		p.publisher.update(p.link.index, report{link: p.link, state: stateFailed, message: err.Error()})
		pause(ctx, retryWait)
	}
}

// session is one try to do so. It only returns with an error, or when ctx is done.
func (p *port) session(ctx context.Context) error {
	// 1. The link up, and with it the VLAN's interface.
	target := p.link
	if err := bringUp(p.link); err != nil {
		return err
	}
	if id := p.plan.vlanID(); id != 0 {
		vlan, err := makeVLAN(p.link, id)
		if err != nil {
			return err
		}
		if err := bringUp(vlan); err != nil {
			return err
		}
		target = vlan
	}
	// 2. A carrier, which takes a NIC some seconds to find.
	p.awaitCarrier(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// 3. The configuration.
	if p.plan.static != nil {
		return p.runStatic(ctx, target, p.plan.static.settings)
	}
	return p.runDHCP(ctx, target)
}

// awaitCarrier returns when the link has a carrier or ctx is done.
func (p *port) awaitCarrier(ctx context.Context) {
	reminder := newReminder(3*time.Second, 5*time.Minute)
	defer reminder.Stop()
	for {
		state, changed := p.carrier.get()
		if state.on {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-reminder.C:
			reminder.again()
			p.publisher.update(p.link.index, report{link: p.link, state: stateNoCarrier})
			p.log.Printf("%s: no carrier: waiting for a cable and a switch port that is on", p.link.name)
		}
	}
}

// runStatic configures ipam= and then only tells of the carrier.
func (p *port) runStatic(ctx context.Context, l link, s settings) error {
	if err := p.apply(l, nil, s); err != nil {
		return err
	}
	for {
		state, changed := p.carrier.get()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			tellCarrier(p.log, l, !state.on)
		}
	}
}

// tellCarrier logs that the carrier came or went.
func tellCarrier(log *log.Logger, l link, on bool) {
	if on {
		log.Printf("%s: the carrier is back", l.name)
	} else {
		log.Printf("%s: the carrier is lost", l.name)
	}
}

// runDHCP gets leases and keeps them until ctx is done.
func (p *port) runDHCP(ctx context.Context, l link) error {
	select {
	case <-p.random:
	case <-ctx.Done():
		return ctx.Err()
	}
	client := &client{link: l, log: p.log, carrier: p.carrier, tell: func(message string) {
		p.publisher.update(p.link.index, report{link: l, state: stateDHCP, message: message})
	}}
	for ctx.Err() == nil {
		p.awaitCarrier(ctx)
		client.tell("")
		lease, err := client.acquire(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNoCarrier):
			continue
		case err != nil:
			return err
		}
		if err := p.keepLease(ctx, client, lease); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// keepLease configures the interface by the lease and each renewal of it, and takes the settings off again when the
// lease has ended. It leaves them when ctx is done: the next run of this program takes them over.
func (p *port) keepLease(ctx context.Context, c *client, current lease) error {
	if err := p.apply(c.link, nil, current.settings); err != nil {
		return err
	}
	for {
		renewed, err := c.hold(ctx, current)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.log.Printf("%s: %v; asking for a new lease", c.link.name, err)
			p.publisher.remove(p.link.index)
			return unconfigure(c.link, p.plan.metric(p.link), current.settings)
		}
		if err := p.apply(c.link, &current.settings, renewed.settings); err != nil {
			return err
		}
		current = renewed
	}
}

// apply configures l, tells it, and publishes it. before are the settings that the interface has by this program, nil
// for none.
func (p *port) apply(l link, before *settings, now settings) error {
	metric := p.plan.metric(p.link)
	problems, err := configure(l, metric, before, now)
	if err != nil {
		return err
	}
	for _, problem := range problems {
		p.log.Print(problem)
	}
	p.publisher.update(p.link.index, report{link: l, state: stateUp, metric: metric, settings: now})
	if before == nil || fmt.Sprint(*before) != fmt.Sprint(now) {
		p.log.Printf("%s %s", l.name, now)
	}
	return nil
}
