package network

import (
	"errors"
	"fmt"
	"log"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// publisher merges what the interfaces have and writes it to /run, where the rest of HookOS reads it:
//
//	network/interfaces       ifupdown's form; that it is there tells upstream's dhcp.sh to stay away
//	network/ntp              one NTP server per line
//	network/status.json      everything, see status
//	resolvconf/resolv.conf   what the host's /etc/resolv.conf is a symbolic link to
//
// It also sets the hostname. Its methods may be called at the same time.
type publisher struct {
	run string
	ntp []string // of ntp_servers=, in place of all others
	log *log.Logger

	mu       sync.Mutex
	reports  map[int]report // by the index of the link
	hostname string
}

// report is what one interface has to tell. metric and settings count only in stateUp.
type report struct {
	link     link
	state    string
	message  string
	metric   int
	settings settings
}

// The states of an interface, as in status.json.
const (
	stateUp        = "up"
	stateDHCP      = "waiting for DHCP"
	stateNoCarrier = "no carrier"
	stateFailed    = "failed"
)

func newPublisher(run string, ntp []string, log *log.Logger) *publisher {
	return &publisher{run: run, ntp: ntp, log: log, reports: map[int]report{}}
}

// update puts r in place of the last report of the link with that index and writes the files.
func (p *publisher) update(index int, r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports[index] = r
	p.write()
}

// remove forgets the link with that index and writes the files.
func (p *publisher) remove(index int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.reports[index]; ok {
		delete(p.reports, index)
		p.write()
	}
}

// write writes every file whose contents changed. An error is logged: the interfaces work without the files, and the
// next change writes them again.
func (p *publisher) write() {
	all := slices.SortedFunc(maps.Values(p.reports), func(a, b report) int {
		if a.metric != b.metric {
			return a.metric - b.metric
		}
		return a.link.index - b.link.index
	})
	up := slices.DeleteFunc(slices.Clone(all), func(r report) bool { return r.state != stateUp })
	merged := merge(up)
	if len(p.ntp) > 0 {
		merged.ntp = p.ntp
	}

	// In this order: who waits for status.json finds the others written.
	var errs []error
	if len(up) > 0 {
		errs = append(errs, replaceFile(filepath.Join(p.run, "network/interfaces"), interfaces(up)))
		errs = append(errs, overwriteFile(filepath.Join(p.run, "resolvconf/resolv.conf"), resolvConf(merged)))
	}
	errs = append(errs, replaceFile(filepath.Join(p.run, "network/ntp"), lines(merged.ntp)))
	errs = append(errs, p.setHostname(merged.hostname))
	errs = append(errs, replaceFile(filepath.Join(p.run, "network/status.json"), status(all, merged)))
	if err := errors.Join(errs...); err != nil {
		p.log.Print(err)
	}
}

// merge joins the settings of all interfaces that are up, those with the best metric first.
func merge(up []report) settings {
	var all settings
	for _, r := range up {
		s := r.settings
		all.dns = appendNew(all.dns, s.dns)
		all.search = appendNew(all.search, s.search)
		all.ntp = appendNew(all.ntp, s.ntp)
		if all.hostname == "" {
			all.hostname = s.hostname
		}
	}
	return all
}

func appendNew[T comparable](to, from []T) []T {
	for _, value := range from {
		if !slices.Contains(to, value) {
			to = append(to, value)
		}
	}
	return to
}

// setHostname sets the host's name once it is known or has changed. Without CAP_SYS_ADMIN it is only told.
func (p *publisher) setHostname(name string) error {
	if name == "" || name == p.hostname {
		return nil
	}
	p.hostname = name
	if len(name) > 64 { // __NEW_UTS_LEN
		name, _, _ = strings.Cut(name, ".")
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("setting the hostname to %s: %w", name, err)
	}
	return nil
}
