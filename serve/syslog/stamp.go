package syslog

import (
	"strings"
	"time"
)

var months = [...]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

// stamp takes a time off the front: that of RFC 3164 (Nov 21 17:08:59), the same
// with a year, a fraction or a zone, or an RFC 3339 one. Before it may stand a
// sequence number (45:) and Cisco's mark of a clock that is not set (*), after it
// a colon. Without a zone it is UTC; without a year it is the one next to now.
func stamp(s string, now time.Time) (said time.Time, rest string, ok bool) {
	rest = s
	if number, after, found := strings.Cut(rest, ": "); found {
		if _, isNumber := decimal(number); isNumber {
			rest = after
		}
	}
	rest = strings.TrimLeft(rest, "*. ")
	first, after := word(rest)
	if said, err := time.Parse(time.RFC3339Nano, strings.TrimSuffix(first, ":")); err == nil {
		return said, after, true
	}
	if said, rest, ok = bsd(rest, now); !ok {
		return time.Time{}, s, false
	}
	return said, rest, true
}

// bsd reads Mmm dd [yyyy] hh:mm:ss[.frac][:] [zone] [yyyy].
func bsd(s string, now time.Time) (said time.Time, rest string, ok bool) {
	name, rest := word(s)
	month := 0
	for i, m := range months {
		if strings.EqualFold(m, name) {
			month = i + 1
		}
	}
	days, rest := word(rest)
	day, valid := decimal(days)
	if month == 0 || !valid || day < 1 || day > 31 {
		return said, s, false
	}
	year := 0
	clock, after := word(rest)
	if y, isYear := yearOf(clock); isYear {
		year, rest = y, after
		clock, after = word(rest)
	}
	of, err := time.Parse("15:04:05", strings.TrimSuffix(clock, ":"))
	if err != nil {
		return said, s, false
	}
	rest, year, zone := trailer(after, strings.HasSuffix(clock, ":"), year)
	at := func(year int) time.Time {
		return time.Date(year, time.Month(month), day, of.Hour(), of.Minute(), of.Second(), of.Nanosecond(), zone)
	}
	if year != 0 {
		return at(year), rest, true
	}
	said = at(now.Year())
	for _, y := range []int{now.Year() - 1, now.Year() + 1} {
		if at(y).Sub(now).Abs() < said.Sub(now).Abs() {
			said = at(y)
		}
	}
	return said, rest, true
}

// trailer takes off the zone and the year that some write after the time.
func trailer(s string, ended bool, year int) (rest string, y int, zone *time.Location) {
	zone = time.UTC
	if ended {
		return s, year, zone
	}
	if first, after := word(s); first == "UTC" || first == "UTC:" || first == "GMT" || first == "Z" {
		s = after
	}
	if first, after := word(s); year == 0 {
		if y, ok := yearOf(strings.TrimSuffix(first, ":")); ok {
			return after, y, zone
		}
	}
	return s, year, zone
}

func yearOf(s string) (int, bool) {
	y, ok := decimal(s)
	return y, ok && len(s) == 4 && y >= 1970 && y < 2200
}
