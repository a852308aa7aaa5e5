package doctor

import (
	"context"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// lease takes the address that was offered, and gives it back.
func (d *doctor) lease(ctx context.Context) {
	q := first(d.questions)
	offer := q.address()
	if offer == nil {
		d.report.note("no address was offered: no lease was taken")
		return
	}
	ack, err := d.request(ctx, q, offer)
	const do = "look at the DHCP server's log"
	switch {
	case err != nil:
		d.problem(LeaseRefused, q.player.name, offer.who(), do, "taking a lease: %s", clean(err.Error(), 200))
		return
	case ack == nil:
		d.problem(LeaseRefused, q.player.name, offer.who(), do, "%s offers %s, and does not answer the REQUEST for it within %s", offer.who(), offer.Address, d.Wait)
		return
	case ack.Type != "ack":
		d.problem(LeaseRefused, q.player.name, offer.who(), do, "%s offers %s, and refuses the REQUEST for it", offer.who(), offer.Address)
		return
	}
	d.report.note("took the lease of " + ack.Address + " from " + ack.who() + " and gave it back")
	if err := d.release(q, ack); err != nil {
		d.report.note("could not give it back: " + clean(err.Error(), 200))
	}
}

// request is DHCPREQUEST in the state SELECTING (RFC 2131 4.3.2).
func (d *doctor) request(ctx context.Context, q *question, offer *Answer) (*Answer, error) {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(d.MAC), dhcpv4.WithBroadcast(true), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest))
	if err != nil {
		return nil, err
	}
	q.player.describe(m, d.MAC)
	m.Options[50] = netip.MustParseAddr(offer.Address).AsSlice() // parseAnswer made the text
	m.Options[54] = offer.options[54]
	asked := &question{player: q.player, message: m}
	ctx, cancel := context.WithTimeout(ctx, d.Wait)
	defer cancel()
	for ctx.Err() == nil {
		if asked.first.IsZero() {
			asked.first = time.Now()
		}
		if err := d.wire.send(m.ToBytes(), netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})); err != nil {
			return nil, err
		}
		d.asker.hear(ctx, []*question{asked}, time.Now().Add(resend))
		for _, a := range asked.answers {
			if a.Type == "ack" || a.Type == "nak" && a.who() == offer.who() {
				return a, nil
			}
		}
	}
	return nil, nil
}

// release is sent twice: no server answers it.
func (d *doctor) release(q *question, ack *Answer) error {
	own, err := netip.ParseAddr(ack.Address)
	if err != nil {
		return err
	}
	server, err := netip.ParseAddr(ack.who())
	if err != nil {
		return err
	}
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(d.MAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease))
	if err != nil {
		return err
	}
	m.ClientIPAddr = own.AsSlice()
	m.Options[54] = server.AsSlice()
	for range 2 {
		if err := d.wire.send(m.ToBytes(), own, server); err != nil {
			return err
		}
	}
	return nil
}
