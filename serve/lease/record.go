package lease

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// record is what is known of one address. It does not change: a new one takes
// its place. Times are the clock's elapsed time.
type record struct {
	ip       uint32
	bits     uint8 // length of the subnet's prefix
	status   status
	reserved bool
	mac      string // of a declined address who declined it, for people only
	clientID string
	uuid     string
	hostname string
	start    time.Duration
	end      time.Duration // free for others from here on
}

type status uint8

const (
	bound    status = 0
	released status = 1
	declined status = 2
)

func (r *record) prefix() netip.Prefix {
	p, _ := address(r.ip).Prefix(int(r.bits))
	return p
}

// live tells whether the record keeps others from the address.
func (r *record) live(now time.Duration) bool { return now < r.end }

func (r *record) state(now time.Duration) State {
	switch {
	case r.status == released:
		return Released
	case !r.live(now):
		return Expired
	case r.status == declined:
		return Quarantined
	}
	return Active
}

func (r *record) lease(now moment) Lease {
	return Lease{
		Client:   Client{MAC: r.mac, ClientID: []byte(r.clientID), UUID: []byte(r.uuid), Hostname: r.hostname},
		IP:       address(r.ip),
		Prefix:   r.prefix(),
		Reserved: r.reserved,
		Duration: plus(r.end, -r.start),
		Start:    now.at(r.start),
		Expires:  now.at(r.end),
		State:    r.state(now.elapsed),
	}
}

// A record on disk: version, flags, prefix length, start (Unix nanoseconds),
// duration (nanoseconds), four strings with a length byte before each, and a
// CRC-32 of all that. The key is the address.

const recordVersion = 1

const (
	statusBits   = 0x03
	reservedFlag = 0x80
)

var errRecord = errors.New("a record is damaged")

// encode writes the times as the wall clock stands now.
func (r *record) encode(now moment) []byte { return r.append(make([]byte, 0, 128), now) }

// append is encode behind what b has.
func (r *record) append(b []byte, now moment) []byte {
	begin, flags := len(b), byte(r.status)
	if r.reserved {
		flags |= reservedFlag
	}
	b = append(b, recordVersion, flags, r.bits)
	b = binary.BigEndian.AppendUint64(b, uint64(unixNano(now.at(r.start))))
	b = binary.BigEndian.AppendUint64(b, uint64(max(0, plus(r.end, -r.start))))
	for _, s := range [...]string{r.mac, r.clientID, r.uuid, r.hostname} {
		b = append(append(b, byte(len(s))), s...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[begin:]))
}

// decode reads what encode wrote and turns the times into elapsed ones. A start
// that lies in the future means that the clock was set back while nobody
// looked: the lease then ends at the latest when it would if it began now.
func decode(key, value []byte, now moment) (*record, error) {
	if len(key) != 4 || len(value) < 3+8+8+4+4 {
		return nil, errRecord
	}
	body, sum := value[:len(value)-4], value[len(value)-4:]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(sum) {
		return nil, errRecord
	}
	if body[0] != recordVersion {
		return nil, errors.New("a record is of a newer version of hooksmith")
	}
	r := &record{
		ip:       binary.BigEndian.Uint32(key),
		status:   status(body[1] & statusBits),
		reserved: body[1]&reservedFlag != 0,
		bits:     body[2],
	}
	start := time.Unix(0, int64(binary.BigEndian.Uint64(body[3:])))
	duration := time.Duration(binary.BigEndian.Uint64(body[11:]))
	rest := body[19:]
	for _, s := range []*string{&r.mac, &r.clientID, &r.uuid, &r.hostname} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return nil, errRecord
		}
		*s, rest = string(rest[1:1+int(rest[0])]), rest[1+int(rest[0]):]
	}
	if len(rest) != 0 || r.bits > 32 || r.status > declined || duration < 0 {
		return nil, errRecord
	}
	r.start = plus(now.elapsed, min(0, start.Sub(now.wall)))
	r.end = plus(r.start, duration)
	return r, nil
}

// unixNano clips what 64 bits cannot hold (the years 1678 to 2262).
func unixNano(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// clip bounds what a client may make us keep.
func clip[T string | []byte](s T) string { return string(s[:min(len(s), 255)]) }

// printable drops what could harm a terminal or a page.
func printable(s string) string {
	return clip(strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return -1
	}, clip(s)), ""))
}

// validMAC: lower-case hex octets between colons, 1 to 20 of them (Ethernet has
// six, IPoIB twenty).
func validMAC(mac string) bool {
	if len(mac)%3 != 2 || len(mac) > 59 {
		return false
	}
	for i := range len(mac) {
		c := mac[i]
		if colon := i%3 == 2; colon != (c == ':') {
			return false
		}
		if c != ':' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
