package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Client is who asks. Only MAC is a key; the rest is recorded for people.
type Client struct {
	MAC      string // as hardware.Machine.MAC: lower case, colons
	ClientID []byte // option 61; at most 255 bytes are kept
	UUID     []byte // option 97; at most 255 bytes are kept
	Hostname string // option 12, as the client sent it; unprintable characters are dropped
}

// Range is a run of addresses, both ends included.
type Range struct {
	From, To netip.Addr
}

// Subnet is a pool: which addresses of a prefix may be given to clients
// without a reservation.
type Subnet struct {
	Prefix netip.Prefix
	Ranges []Range // none: nothing to give. What lies outside of Prefix, its network and its broadcast address never are

	// Excluded tells which addresses inside of Ranges are not to be given:
	// reservations, the router, this server. It is called with the store
	// locked: it must be quick and must not call the store. Nil: none.
	Excluded func(netip.Addr) bool
}

// Allows tells whether ip is one that this pool may give. A server asks it
// before it binds what a client without a reservation wants.
func (s Subnet) Allows(ip netip.Addr) bool {
	return s.inRanges(ip) && (s.Excluded == nil || !s.Excluded(ip))
}

// State is what a record says of its address.
type State string

// The states. Only Active and Quarantined keep an address from others.
const (
	Active      State = "active"
	Expired     State = "expired"
	Released    State = "released"    // given back by the client
	Quarantined State = "quarantined" // declined, or seen in use by a stranger
)

// Lease is an address and who has it, or had it last.
type Lease struct {
	Client
	IP     netip.Addr
	Prefix netip.Prefix // of the subnet; a client has one lease in each

	// Reserved marks an address that the hardware data give to this client.
	Reserved bool

	// Duration is what Bind is told. It is the time after which others may
	// get the address: not less than what the client is told (option 51).
	Duration time.Duration

	// Start, Expires and State are set by the store. The times are the
	// wall clock's, and follow it when it is set.
	Start   time.Time
	Expires time.Time
	State   State
}

// TakenError is returned when an address is somebody else's.
type TakenError struct {
	IP     netip.Addr
	Holder string // MAC; empty: not known (a quarantined address)
	State  State  // Active, Quarantined, or empty: offered
	Until  time.Time
}

func (e *TakenError) Error() string {
	until := e.Until.Format(time.RFC3339)
	switch {
	case e.State == Quarantined:
		return fmt.Sprintf("%v is in quarantine until %s: another host was seen using it", e.IP, until)
	case e.State == Active:
		return fmt.Sprintf("%v is leased to %s until %s", e.IP, e.Holder, until)
	}
	return fmt.Sprintf("%v is offered to %s until %s", e.IP, e.Holder, until)
}

// ExhaustedError is returned when a pool has no address left to offer.
type ExhaustedError struct {
	Prefix netip.Prefix
	Size   uint64 // addresses in the ranges
}

func (e *ExhaustedError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("the pool of %v has no addresses: give it a range inside of the subnet", e.Prefix)
	}
	return fmt.Sprintf("all %d addresses of the pool of %v are in use, offered, excluded or in quarantine: enlarge its range or shorten its leases", e.Size, e.Prefix)
}

// ErrNotHeld is returned when a client gives back or declines an address that
// it has neither been leased nor offered.
var ErrNotHeld = errors.New("the client does not hold this address")

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the lease store is closed")
