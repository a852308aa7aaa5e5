package syslog

import (
	"net/netip"
	"time"
)

// Record is one message. All text is valid UTF-8 without control characters,
// except that a line break or tab inside of Message stays.
type Record struct {
	Time     time.Time // when it was received
	Said     time.Time // when the sender says it happened; zero: it does not say
	Facility Facility
	Severity Severity
	Hostname string // what the sender calls itself; empty: nothing
	App      string // RFC 3164: the tag
	ProcID   string
	MsgID    string
	Message  string
	Data     []Element // structured data (RFC 5424), in order
	Fields   []Param   // of a JSON message, besides text, level and time; sorted by name

	From netip.AddrPort // the socket that sent it; IPv4 is not mapped into IPv6
}

// Element is one SD-ELEMENT of RFC 5424.
type Element struct {
	ID     string
	Params []Param
}

// Param is a name and its value.
type Param struct {
	Name, Value string
}

// Severity is how bad it is: 0 emergency to 7 debug.
type Severity uint8

// The severities of RFC 5424.
const (
	Emergency Severity = iota
	Alert
	Critical
	Error
	Warning
	Notice
	Info
	Debug
)

var severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

func (s Severity) String() string { return severities[s&7] }

// Facility is the part of a system that says it.
type Facility uint8

var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func (f Facility) String() string {
	if int(f) < len(facilities) {
		return facilities[f]
	}
	return "unknown"
}

// Without a priority a message is user.notice (RFC 3164, 4.3.3).
const (
	defaultFacility Facility = 1
	defaultSeverity          = Notice
)
