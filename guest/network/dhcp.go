package network

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// client is the DHCP client of one interface: the states of RFC 2131 figure 5, without the ARP probe (as upstream's
// dhcpcd runs) and without the pause of 1 to 10 s before the first DISCOVER, which is there for a whole building that
// powers up, while a HookOS has just been through DHCP twice.
type client struct {
	link    link
	log     *log.Logger
	carrier *carrier
	tell    func(message string) // says what it waits for, for status.json
	period  int                  // the period of the carrier in which a server last confirmed the address
}

// errNoCarrier says that the link lost its carrier while a server was asked.
var errNoCarrier = errors.New("no carrier")

// errNAK says that the server refuses the address asked for.
var errNAK = errors.New("the DHCP server refuses the address (NAK)")

// The waits between retransmissions. RFC 2131 4.1 begins at 4 s; most losses here are a switch port that does not
// forward yet, so it is asked again sooner, and for two minutes more often than the RFC's 64 s.
const (
	firstWait  = time.Second
	earlyWait  = 10 * time.Second
	lateWait   = 30 * time.Second
	earlyPhase = 2 * time.Minute
)

// requestTries is how often a REQUEST is sent before it is time to do something else.
const requestTries = 3

// acquire gets a lease: states INIT, SELECTING and REQUESTING. It asks for as long as ctx and the carrier last, which
// makes errNoCarrier; other errors are those of sockets.
func (c *client) acquire(ctx context.Context) (lease, error) {
	state, _ := c.carrier.get()
	c.period = state.period
	while, cancel := c.carrier.while(ctx)
	defer cancel()
	l, err := c.askOn(while)
	if err != nil && while.Err() != nil && ctx.Err() == nil {
		return lease{}, errNoCarrier
	}
	return l, err
}

// askOn is acquire for as long as ctx lasts.
func (c *client) askOn(ctx context.Context) (lease, error) {
	start := time.Now()
	reminder := newReminder(5*time.Second, 5*time.Minute)
	defer reminder.Stop()
	for wait := firstWait; ctx.Err() == nil; wait = nextWait(wait, time.Since(start)) {
		l, err := c.tryAcquire(ctx, start, wait)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, errNoAnswer):
		case errors.Is(err, errNAK) || errors.Is(err, errUseless):
			c.log.Printf("%s: %v", c.link.name, err)
			pause(ctx, wait)
		default:
			return lease{}, err
		}
		select {
		case <-reminder.C:
			reminder.again()
			message := fmt.Sprintf("no DHCP server has answered in %.0f s; asking on", time.Since(start).Seconds())
			c.tell(message)
			c.log.Printf("%s: %s", c.link.name, message)
		default:
		}
	}
	return lease{}, ctx.Err()
}

func nextWait(wait, elapsed time.Duration) time.Duration {
	if elapsed < earlyPhase {
		return min(2*wait, earlyWait)
	}
	return lateWait
}

// Why a try ended without a lease, where acquire goes on.
var (
	errNoAnswer = errors.New("no answer")
	errUseless  = errors.New("useless lease")
)

// tryAcquire sends one DISCOVER and sees it through. The packet socket lives no longer, since it would slow down every
// packet that the machine receives, and a link that went down breaks it.
func (c *client) tryAcquire(ctx context.Context, start time.Time, wait time.Duration) (lease, error) {
	conn, err := c.openPacket()
	if err != nil {
		return lease{}, err
	}
	defer conn.Close()
	discover, err := c.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return lease{}, err
	}
	offer, err := c.ask(ctx, conn, broadcastServers, discover, start, []time.Duration{wait}, acceptable)
	if err != nil {
		return lease{}, err
	}
	request, err := c.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithTransactionID(offer.TransactionID),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
	if err != nil {
		return lease{}, err
	}
	asked := time.Now()
	ack, err := c.request(ctx, conn, broadcastServers, request, start, requestWaits(firstWait))
	if err != nil {
		return lease{}, err
	}
	return newLease(ack, asked)
}

// acceptable reports whether an offer can become a lease: a proxy DHCP server offers no address, for example.
func acceptable(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeOffer && !m.YourIPAddr.IsUnspecified() && m.ServerIdentifier() != nil
}

// request sends a REQUEST until it is answered, and returns the ACK.
func (c *client) request(ctx context.Context, conn *nclient4.Client, to *net.UDPAddr, request *dhcpv4.DHCPv4,
	start time.Time, waits []time.Duration) (*dhcpv4.DHCPv4, error) {
	server := request.ServerIdentifier()
	answer, err := c.ask(ctx, conn, to, request, start, waits, func(m *dhcpv4.DHCPv4) bool {
		if server != nil && !server.Equal(m.ServerIdentifier()) {
			return false
		}
		return m.MessageType() == dhcpv4.MessageTypeAck || m.MessageType() == dhcpv4.MessageTypeNak
	})
	switch {
	case err != nil:
		return nil, err
	case answer.MessageType() == dhcpv4.MessageTypeAck:
		return answer, nil
	case answer.Message() != "":
		return nil, fmt.Errorf("%w: %q", errNAK, answer.Message())
	}
	return nil, errNAK
}

func requestWaits(first time.Duration) []time.Duration {
	waits := make([]time.Duration, requestTries)
	for i := range waits {
		waits[i] = first << i
	}
	return waits
}

// hold keeps a lease: states BOUND, RENEWING, REBINDING, and INIT-REBOOT when the carrier was away, for the machine may
// be on another network then. It returns the renewed lease, or why the lease has ended.
func (c *client) hold(ctx context.Context, l lease) (lease, error) {
	for ctx.Err() == nil {
		ask := c.awaitTurn(ctx, l)
		if ctx.Err() != nil {
			break
		}
		if l.ended(time.Now()) {
			return lease{}, fmt.Errorf("the lease of %s has ended and no server has renewed it", l.settings.address)
		}
		if ask == nil {
			continue
		}
		renewed, err := ask(ctx, l)
		if err == nil || errors.Is(err, errNAK) {
			return renewed, err
		}
		if !errors.Is(err, errNoAnswer) && !errors.Is(err, errNoCarrier) && ctx.Err() == nil {
			c.log.Printf("%s: renewing the lease: %v", c.link.name, err)
		}
	}
	return lease{}, ctx.Err()
}

// awaitTurn returns what is to be asked when it is time to ask it, or nil when the lease has to be looked at again.
func (c *client) awaitTurn(ctx context.Context, l lease) func(context.Context, lease) (lease, error) {
	state, changed := c.carrier.get()
	if state.on && state.period != c.period {
		tellCarrier(c.log, c.link, true)
		return c.verify
	}
	timer := time.NewTimer(l.untilNext(time.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.renew
	case <-changed:
		if state.on {
			tellCarrier(c.log, c.link, false)
		}
	case <-ctx.Done():
	}
	return nil
}

// renew asks once for an extension: before T2 the server that gave the lease, by unicast from the leased address;
// after T2 any server, by broadcast.
func (c *client) renew(ctx context.Context, l lease) (lease, error) {
	request, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(l.ack.YourIPAddr))
	if err != nil {
		return lease{}, err
	}
	now := time.Now()
	if now.Before(l.t2) {
		if conn, err := c.openUnicast(l); err == nil {
			defer conn.Close()
			to := &net.UDPAddr{IP: l.ack.ServerIdentifier(), Port: nclient4.ServerPort}
			return c.extend(ctx, conn, to, request, l, []time.Duration{renewWait(l.t2.Sub(now))})
		}
	}
	return c.broadcastRequest(ctx, request, l, []time.Duration{renewWait(l.end.Sub(now))})
}

// renewWait is how long an answer is waited for: never until the end of the state, which begins with a request too.
func renewWait(remaining time.Duration) time.Duration {
	return min(4*time.Second, remaining/2)
}

// verify asks whether the lease is still good on the network that the interface is on now. Without an answer it is
// taken to be (RFC 2131 3.2), but not if the carrier went while it was asked.
func (c *client) verify(ctx context.Context, l lease) (lease, error) {
	request, err := c.message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.ack.YourIPAddr)))
	if err != nil {
		return lease{}, err
	}
	state, _ := c.carrier.get()
	while, cancel := c.carrier.while(ctx)
	defer cancel()
	verified, err := c.broadcastRequest(while, request, l, requestWaits(firstWait))
	if while.Err() != nil && ctx.Err() == nil {
		return verified, errNoCarrier
	}
	c.period = state.period
	return verified, err
}

func (c *client) broadcastRequest(ctx context.Context, request *dhcpv4.DHCPv4, l lease, waits []time.Duration) (lease, error) {
	conn, err := c.openPacket()
	if err != nil {
		return lease{}, err
	}
	defer conn.Close()
	return c.extend(ctx, conn, broadcastServers, request, l, waits)
}

// extend is request for a lease that is already there.
func (c *client) extend(ctx context.Context, conn *nclient4.Client, to *net.UDPAddr, request *dhcpv4.DHCPv4, l lease,
	waits []time.Duration) (lease, error) {
	asked := time.Now()
	ack, err := c.request(ctx, conn, to, request, asked, waits)
	if err != nil {
		return lease{}, err
	}
	return renewedLease(ack, l.ack, asked)
}

// ask sends m once for each of the waits, which it varies by a tenth so that machines powered up together do not stay
// together, and returns the first answer that match takes, or errNoAnswer.
func (c *client) ask(ctx context.Context, conn *nclient4.Client, to *net.UDPAddr, m *dhcpv4.DHCPv4, start time.Time,
	waits []time.Duration, match nclient4.Matcher) (*dhcpv4.DHCPv4, error) {
	for _, wait := range waits {
		m.NumSeconds = uint16(min(time.Since(start)/time.Second, 0xffff))
		wait += time.Duration((rand.Float64() - 0.5) / 5 * float64(wait))
		try, cancel := context.WithTimeout(ctx, wait)
		answer, err := conn.SendAndRead(try, to, m, match)
		cancel()
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case try.Err() == nil:
			return nil, fmt.Errorf("%s: sending DHCP: %w", c.link.name, err)
		}
	}
	return nil, errNoAnswer
}
