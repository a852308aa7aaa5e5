package ntpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beevik/ntp"
)

// answer is what one server says of our clock.
type answer struct {
	server string
	offset time.Duration // to add to the clock
	within time.Duration // how wrong the offset may be
}

// answerWait bounds one question, name resolution included.
const answerWait = 5 * time.Second

// ask asks all servers at once and returns the answer to believe: with three or more the median, so that one that lies
// has no say, else the most exact one. The error says what each one did.
func (d *daemon) ask(ctx context.Context, servers []string) (answer, error) {
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		answers []answer
		errs    []error
	)
	for _, server := range servers {
		if until, ok := d.banned[server]; ok && time.Now().Before(until) {
			errs = append(errs, fmt.Errorf("%s asked to be left alone for a while", server))
			continue
		}
		group.Go(func() {
			a, err := d.askOne(ctx, server)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			answers = append(answers, a)
		})
	}
	group.Wait()
	var words []string
	for _, err := range errs {
		if kiss := (kissError{}); errors.As(err, &kiss) {
			d.ban(kiss.server)
		}
		words = append(words, err.Error())
	}
	if len(answers) == 0 {
		return answer{}, fmt.Errorf("no time server answers: %s", strings.Join(words, "; "))
	}
	return choose(answers), nil
}

// ban leaves a server alone that told us to go away (RFC 5905 7.4).
func (d *daemon) ban(server string) {
	if d.banned == nil {
		d.banned = map[string]time.Time{}
	}
	d.banned[server] = time.Now().Add(maxPoll)
}

// choose returns the answer to believe out of at least one.
func choose(answers []answer) answer {
	if len(answers) < 3 {
		return slices.MinFunc(answers, func(a, b answer) int { return cmp.Compare(a.within, b.within) })
	}
	slices.SortFunc(answers, func(a, b answer) int { return cmp.Compare(a.offset, b.offset) })
	return answers[len(answers)/2]
}

// kissError is a server's wish to be left alone.
type kissError struct{ server, code string }

func (e kissError) Error() string {
	return fmt.Sprintf("%s says no (%s)", e.server, e.code)
}

// askOne asks one server once.
func (d *daemon) askOne(ctx context.Context, server string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	response, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout:       answerWait,
		GetSystemTime: d.clock.query,
		Dialer: func(_, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() }) // closing twice is harmless
			}
			return conn, err
		},
	})
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", server, err)
	}
	if response.IsKissOfDeath() {
		return answer{}, kissError{server: server, code: response.KissCode}
	}
	if err := response.Validate(); err != nil {
		return answer{}, fmt.Errorf("%s: %w", server, err)
	}
	if now := d.clock.now().Add(response.ClockOffset); now.Before(d.clock.floor) {
		return answer{}, fmt.Errorf("%s says that it is %s, before this HookOS was built", server, now.UTC().Format(time.RFC3339))
	}
	return answer{server: server, offset: response.ClockOffset, within: response.RootDistance}, nil
}
