package lease

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTree compares the tree with a map under random changes.
func TestTree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var tr tree
	naive := map[uint32]int64{}
	for step := range 6000 {
		n := rnd.Uint32N(600)
		if rnd.IntN(3) == 0 {
			n = math.MaxUint32 - n // the other end
		}
		if rnd.IntN(3) == 0 {
			tr.clear(n)
			delete(naive, n)
		} else {
			key := rnd.Int64N(50)
			tr.set(n, key)
			naive[n] = key
		}
		if step%10 != 0 {
			continue
		}
		s := span{rnd.Uint32N(600), 0}
		s.to = s.from + rnd.Uint32N(600)
		if step%20 == 0 {
			s = span{math.MaxUint32 - s.to, math.MaxUint32 - s.from}
		}
		compareTree(t, &tr, naive, s)
	}
	for n := range naive {
		tr.clear(n)
	}
	if tr.root.used != 0 || tr.root.kids != nil && *tr.root.kids != [16]*node{} {
		t.Error("an empty tree still holds nodes")
	}
}

func compareTree(t *testing.T, tr *tree, naive map[uint32]int64, s span) {
	t.Helper()
	type pair struct {
		n   uint32
		key int64
	}
	var want, got []pair
	free, found := uint32(0), false
	for n := uint64(s.from); n <= uint64(s.to); n++ {
		if key, ok := naive[uint32(n)]; ok {
			want = append(want, pair{uint32(n), key})
		} else if !found {
			free, found = uint32(n), true
		}
	}
	slices.SortStableFunc(want, func(a, b pair) int { return int(a.key - b.key) })
	for n, key := range tr.ascending(s) {
		got = append(got, pair{n, key})
	}
	if !slices.Equal(got, want) {
		t.Fatalf("ascending %v: %v, want %v", s, got, want)
	}
	if n, ok := tr.firstFree(s); ok != found || n != free {
		t.Fatalf("firstFree %v: %v %v, want %v %v", s, n, ok, free, found)
	}
}

func TestRotate(t *testing.T) {
	spans := []span{{10, 12}, {20, 20}, {30, 31}}
	for start, want := range [][]span{
		{{10, 12}, {20, 20}, {30, 31}},
		{{11, 12}, {20, 20}, {30, 31}, {10, 10}},
		{{12, 12}, {20, 20}, {30, 31}, {10, 11}},
		{{20, 20}, {30, 31}, {10, 12}},
		{{30, 31}, {10, 12}, {20, 20}},
		{{31, 31}, {10, 12}, {20, 20}, {30, 30}},
	} {
		if got := rotate(spans, uint64(start)); !slices.Equal(got, want) {
			t.Errorf("from %d: %v, want %v", start, got, want)
		}
	}
}

func TestUsable(t *testing.T) {
	for prefix, want := range map[string]uint64{"10.0.0.0/24": 254, "10.0.0.0/12": 1<<20 - 2, "10.0.0.0/30": 2, "10.0.0.0/31": 2, "10.0.0.7/32": 1, "0.0.0.0/0": 1<<32 - 2} {
		s, ok := usable(pool(prefix).Prefix)
		if !ok || s.size() != want {
			t.Errorf("%s: %d, want %d", prefix, s.size(), want)
		}
	}
}

func TestValidMAC(t *testing.T) {
	for mac, want := range map[string]bool{
		macA: true, "00:11:22:33:44:55:66:77": true, "": false, "0": false, "0a": true, "0a:": false, "0A:0b": false, "0a-0b": false, "::": false, "0a:0b:c": false,
	} {
		if validMAC(mac) != want {
			t.Errorf("%q: %v", mac, !want)
		}
	}
}

// TestNewerRecord: a file of a later hooksmith is not half understood.
func TestNewerRecord(t *testing.T) {
	b := (&record{mac: macA}).encode(moment{})
	b[0] = recordVersion + 1
	b = binary.BigEndian.AppendUint32(b[:len(b)-4], crc32.ChecksumIEEE(b[:len(b)-4]))
	if _, err := decode(make([]byte, 4), b, moment{}); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	now := moment{wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), elapsed: time.Hour}
	r := record{ip: 0x0a000001, bits: 24, mac: macA, hostname: "node", clientID: "\x01abc", start: time.Minute, end: 2 * time.Hour, reserved: true}
	f.Add([]byte{10, 0, 0, 1}, r.encode(now))
	f.Add([]byte{10, 0, 0, 1}, []byte{})
	if got, err := decode([]byte{10, 0, 0, 1}, r.encode(now), now); err != nil || !reflect.DeepEqual(*got, r) {
		f.Fatalf("%+v %v, want %+v", got, err, r)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := decode(key, value, now)
		if err != nil {
			return
		}
		if r.end < r.start || r.start > now.elapsed {
			t.Errorf("times %v to %v", r.start, r.end)
		}
		r.lease(now)
		again, err := decode(key, r.encode(now), now)
		if err != nil || again.mac != r.mac || again.hostname != r.hostname || again.status != r.status {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}
