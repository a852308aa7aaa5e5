package hardware

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// fields says what to do with each known key of an object. A nil function
// accepts a key and leaves it alone.
type fields map[string]func(at string, v *node)

// manner is how unknown keys are taken: our own format is strict, Kubernetes
// objects have keys of others.
type manner int

const (
	strict manner = iota
	lenient
)

// object walks the keys of an object. What names it for messages.
func (r *report) object(n *node, what string, m manner, known fields) {
	if n.kind == null {
		return
	}
	if n.kind != object {
		r.fail(n.at, what, "%s, but an object is wanted", n.kind)
		return
	}
	var seen map[string]bool
	if len(n.entries) > 1 {
		seen = make(map[string]bool, len(n.entries))
	}
	for _, e := range n.entries {
		if seen[e.key] {
			r.fail(e.at, path(what, e.key), "this key is there twice")
			continue
		}
		if seen != nil {
			seen[e.key] = true
		}
		set, ok := known[e.key]
		switch {
		case ok && set == nil || ok && e.value.kind == null:
		case ok:
			set(path(what, e.key), e.value)
		case m == strict:
			r.fail(e.at, path(what, e.key), "unknown key%s", suggestion(e.key, known))
		default:
			r.note(e.at, path(what, e.key), "unknown key, ignored%s", suggestion(e.key, known))
		}
	}
}

// suggestion finds a key that differs in case and separators only, which is
// how the formats differ among each other.
func suggestion(key string, known fields) string {
	plain := func(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)) }
	for name := range known {
		if plain(name) == plain(key) {
			return fmt.Sprintf(" (meant is %s)", name)
		}
	}
	return ""
}

// each walks a list; a single value counts as a list of one if loose.
func (r *report) each(at string, n *node, f func(at string, n *node)) {
	if n.kind != list {
		r.fail(n.at, at, "%s, but a list is wanted", n.kind)
		return
	}
	for i, v := range n.items {
		f(item(at, i), v)
	}
}

// set returns a function that parses a scalar into to.
func set[T any](r *report, to *T, parse func(string) (T, error)) func(string, *node) {
	return func(at string, n *node) {
		if n.kind != scalar {
			r.fail(n.at, at, "%s, but one value is wanted", n.kind)
			return
		}
		value, err := parse(n.text)
		if err != nil {
			r.fail(n.at, at, "%v", err)
			return
		}
		*to = value
	}
}

// optional is set for a value that may be empty, as generated objects have it.
func optional[T any](r *report, to *T, parse func(string) (T, error)) func(string, *node) {
	apply := set(r, to, parse)
	return func(at string, n *node) {
		if n.kind != scalar || n.text != "" {
			apply(at, n)
		}
	}
}

// add returns a function that parses every element of a list and appends.
func add[T any](r *report, to *[]T, parse func(string) (T, error)) func(string, *node) {
	return func(at string, n *node) {
		var all []T
		r.each(at, n, func(at string, n *node) {
			var value T
			before := len(r.problems.List) + r.problems.More
			set(r, &value, parse)(at, n)
			if before == len(r.problems.List)+r.problems.More {
				all = append(all, value)
			}
		})
		*to = all
	}
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%s: true or false", quote(s))
}

// parseSwitch reads a boolean that is also known to be set.
func parseSwitch(s string) (Switch, error) {
	on, err := parseBool(s)
	if on {
		return On, err
	}
	return Off, err
}

// parseDisable reads a boolean whose name is a negation.
func parseDisable(s string) (Switch, error) {
	on, err := parseBool(s)
	if on {
		return Off, err
	}
	return Unset, err
}

// parseVLANOrNone reads what "no VLAN" looks like in Tinkerbell's objects too.
func parseVLANOrNone(s string) (int, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	return parseVLAN(s)
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is not a subnet such as 10.1.0.0/16", quote(s))
	}
	return p, nil
}

// labelsOf reads a map of labels.
func (r *report) labelsOf(to *map[string]string) func(string, *node) {
	return func(at string, n *node) {
		if n.kind != object {
			r.fail(n.at, at, "%s, but an object of labels is wanted", n.kind)
			return
		}
		labels := make(map[string]string, len(*to)+len(n.entries))
		for k, v := range *to {
			labels[k] = v
		}
		for _, e := range n.entries {
			if e.value.kind == list || e.value.kind == object {
				r.fail(e.value.at, path(at, e.key), "%s, but a label has one value", e.value.kind)
			} else if err := checkLabel(e.key, e.value.text); err != nil {
				r.fail(e.at, path(at, e.key), "%v", err)
			}
			labels[e.key] = e.value.text
		}
		*to = labels
	}
}

// routes reads static routes, whose keys the formats name differently.
func (r *report) routes(to *[]Route, destination, router string, m manner) func(string, *node) {
	return func(at string, n *node) {
		var all []Route
		r.each(at, n, func(at string, n *node) {
			var route Route
			r.object(n, at, m, fields{
				destination: set(r, &route.Destination, parsePrefix),
				router:      set(r, &route.Router, parseAddr),
			})
			if !n.has(destination) || !n.has(router) {
				r.fail(n.at, at, "a route has %s and %s", destination, router)
			}
			all = append(all, route)
		})
		*to = all
	}
}

// hostAddress combines an address and a netmask that were read apart. Without
// a netmask the address is of no use to DHCP, so that is an error.
func (r *report) hostAddress(at place, field string, address, netmask string) (p netip.Prefix) {
	addr, err := parseAddr(address)
	if err != nil {
		r.fail(at, field, "%v", err)
		return p
	}
	if netmask == "" {
		r.fail(at, field, "%s has no netmask", addr)
		return p
	}
	bits, err := parseNetmask(netmask, addr)
	if err == nil {
		p, err = parseHost(addr, bits)
	}
	if err != nil {
		r.fail(at, field, "%v", err)
	}
	return p
}

// text keeps a scalar for later.
func text(s string) (string, error) { return parseLine(s) }

func leaseSeconds(s string) (time.Duration, error) { return parseSeconds(s) }
