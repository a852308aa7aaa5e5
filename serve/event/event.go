// Package event is what the parts of the boot server tell each other about a
// machine: one small record for everything that happens on the wire. The
// protocol servers emit them, the timeline records and explains them.
package event

import "time"

// Kind names a step of a machine's boot.
type Kind string

// The kinds, in the order in which a boot goes through them.
const (
	Discover  Kind = "discover"
	Offer     Kind = "offer"
	Request   Kind = "request"
	Ack       Kind = "ack"
	Nak       Kind = "nak"
	Decline   Kind = "decline"
	Release   Kind = "release"
	Inform    Kind = "inform"
	Silence   Kind = "silence"    // a packet was left unanswered; Detail says why
	RivalDHCP Kind = "rival-dhcp" // the client took another server's offer; Peer is its address
	TFTPProbe Kind = "tftp-probe" // size asked, transfer not wanted
	TFTPStart Kind = "tftp-start"
	TFTPDone  Kind = "tftp-done"
	TFTPAbort Kind = "tftp-abort"
	HTTPStart Kind = "http-start"
	HTTPDone  Kind = "http-done"
	HTTPAbort Kind = "http-abort"
	Script    Kind = "script"    // an iPXE script was handed out
	Loop      Kind = "loop"      // asked for the binary again right after loading it
	NoBinary  Kind = "no-binary" // architecture without a binary
	Unknown   Kind = "unknown"   // MAC without a hardware record
	Syslog    Kind = "syslog"    // a line from the machine
	WorkerUp  Kind = "worker-up"

	TFTPProgress Kind = "tftp-progress" // about once a second: Bytes so far of Size
	HTTPProgress Kind = "http-progress"
)

// Event is one happening. Zero fields are unknown or do not apply.
type Event struct {
	Time        time.Time     `json:"time"`
	Kind        Kind          `json:"kind"`
	MAC         string        `json:"mac,omitempty"` // lower case, colons
	IP          string        `json:"ip,omitempty"`  // the machine's
	Peer        string        `json:"peer,omitempty"`
	Arch        string        `json:"arch,omitempty"`   // IANA name or number of option 93
	Client      string        `json:"client,omitempty"` // user class or vendor class
	File        string        `json:"file,omitempty"`
	Size        int64         `json:"size,omitempty"`  // bytes of the whole file
	Bytes       int64         `json:"bytes,omitempty"` // bytes sent
	Duration    time.Duration `json:"duration,omitempty"`
	Retransmits int           `json:"retransmits,omitempty"`
	Detail      string        `json:"detail,omitempty"` // words for a human
}

// Sink takes events. It must not block for long and must be safe for
// concurrent use. A nil Sink is not allowed; use Discard.
type Sink func(Event)

// Discard drops events.
func Discard(Event) {}
