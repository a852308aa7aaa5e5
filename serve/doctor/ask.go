package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// question is one player's DISCOVER and what came back.
type question struct {
	player  *player
	message *dhcpv4.DHCPv4
	first   time.Time // when it was sent first
	answers []*Answer
	bad     []string // what came that is no answer
}

// asker asks for all players over one wire.
type asker struct {
	wire *wire
	mac  net.HardwareAddr
}

const (
	resend  = 2 * time.Second       // as machines do, but sooner
	spacing = 10 * time.Millisecond // between questions: servers limit one machine's rate
	grace   = 1500 * time.Millisecond
)

// everybody asks for all players: one first, which shows who answers and how fast, then the others at once.
func (a *asker) everybody(ctx context.Context, all []player, wait time.Duration) ([]*question, error) {
	var questions []*question
	for i := range all {
		m, err := all[i].discover(a.mac)
		if err != nil {
			return nil, err
		}
		questions = append(questions, &question{player: &all[i], message: m})
	}
	one := first(questions)
	others := slices.DeleteFunc(slices.Clone(questions), func(q *question) bool { return q == one })
	err := a.round(ctx, []*question{one}, wait, one.answered)
	if err == nil {
		err = a.round(ctx, others, max(wait/2, resend+grace/2), func() bool { return allAnswered(others) })
	}
	return questions, err
}

func (q *question) answered() bool { return len(q.answers) > 0 }

func allAnswered(all []*question) bool {
	return !slices.ContainsFunc(all, func(q *question) bool { return !q.answered() })
}

// round sends questions and takes answers until wait is over, or for a moment longer once done says so: another server
// may be slower.
func (a *asker) round(ctx context.Context, questions []*question, wait time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	next := time.Now()
	var end time.Time
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(next) {
			if err := a.sendAll(ctx, questions); err != nil {
				return err
			}
			next = time.Now().Add(resend)
		}
		if end.IsZero() && done() {
			end = time.Now().Add(grace)
		}
		until := next
		if !end.IsZero() && end.Before(next) {
			until = end
		}
		a.hear(ctx, questions, until)
		if !end.IsZero() && !time.Now().Before(end) {
			return nil
		}
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return nil
	}
	return ctx.Err()
}

// sendAll sends what was not answered.
func (a *asker) sendAll(ctx context.Context, questions []*question) error {
	for _, q := range questions {
		if q.answered() {
			continue
		}
		now := time.Now()
		if q.first.IsZero() {
			q.first = now
		}
		q.message.NumSeconds = uint16(min(now.Sub(q.first)/time.Second, 60))
		if err := a.wire.send(q.message.ToBytes(), netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})); err != nil {
			return fmt.Errorf("sending a DISCOVER: %w", err)
		}
		a.hear(ctx, questions, now.Add(spacing))
	}
	return nil
}

// hear takes answers until a time. One that arrives when done is true ends nothing: see round.
func (a *asker) hear(ctx context.Context, questions []*question, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	before := allAnswered(questions)
	for {
		h, ok := a.wire.next(ctx)
		if !ok {
			return
		}
		for _, q := range questions {
			q.take(h)
		}
		if !before && allAnswered(questions) {
			return
		}
	}
}

// take adds an answer to the question, once.
func (q *question) take(h heard) {
	a, m, err := parseAnswer(h.data)
	if err != nil {
		if len(h.data) >= 8 && [4]byte(h.data[4:8]) == [4]byte(q.message.TransactionID) && h.data[0] == byte(dhcpv4.OpcodeBootReply) {
			q.refuse(fmt.Sprintf("%s sends what is no DHCP answer: %v", h.from.Addr(), err))
		}
		return
	}
	if m.TransactionID != q.message.TransactionID || !slices.Equal(m.ClientHWAddr, q.message.ClientHWAddr) {
		return
	}
	a.From, a.hw = h.from.Addr().String(), h.hw
	if h.hw != [6]byte{} {
		a.MAC = net.HardwareAddr(h.hw[:]).String()
	}
	a.Millis = h.at.Sub(q.first).Milliseconds()
	same := func(o *Answer) bool {
		return o.who() == a.who() && o.ServerID == a.ServerID && o.Type == a.Type && o.proxy() == a.proxy() && o.File == a.File && o.NextServer == a.NextServer
	}
	if len(q.answers) < maxAnswers && !slices.ContainsFunc(q.answers, same) {
		q.answers = append(q.answers, a)
	}
}

func (q *question) refuse(text string) {
	if len(q.bad) < maxAnswers && !slices.Contains(q.bad, text) {
		q.bad = append(q.bad, text)
	}
}

// bootServer asks port 4011 of a server for a player's file, as a firmware does that has its address. Nil: no answer.
func bootServer(ctx context.Context, p *player, mac net.HardwareAddr, own, server netip.Addr, item []byte) (*Answer, error) {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest))
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	p.describe(m, mac)
	m.ClientIPAddr = own.AsSlice()
	if len(item) == 4 {
		m.Options[43] = append([]byte{71, 4}, append(slices.Clone(item), 255)...)
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0)))
	if err != nil {
		return nil, fmt.Errorf("socket for port 4011: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	q := &question{player: p, message: m, first: time.Now()}
	buf := make([]byte, maxMessage+1)
	for range 3 {
		if _, err := conn.WriteToUDPAddrPort(m.ToBytes(), netip.AddrPortFrom(server, pxePort)); err != nil {
			return nil, fmt.Errorf("asking %s port 4011: %w", server, err)
		}
		for end := time.Now().Add(resend); ; {
			if err := conn.SetReadDeadline(end); err != nil {
				return nil, cmp.Or(ctx.Err(), err)
			}
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				break // the deadline; or closed, which the next write says
			}
			q.take(heard{data: buf[:n], from: from, at: time.Now()})
			if q.answered() {
				answer := q.answers[0]
				answer.Port, answer.Address = pxePort, "" // some repeat the client's own address
				return answer, nil
			}
		}
	}
	return nil, ctx.Err()
}
