package lease

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// snapshot copies a store's files as they are, as a crash would leave them.
func snapshot(t *testing.T, s *Store) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "leases.db")
	for from, to := range map[string]string{s.path: to, journalPath(s.path): journalPath(to)} {
		if err := os.WriteFile(to, mustRead(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func journalMAC(i int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255) }

// bindMany leases count addresses, each in a transaction of its own.
func bindMany(t *testing.T, s *Store, count int) {
	t.Helper()
	for i := range count {
		bind(t, s, journalMAC(i), address(0x0a100001+uint32(i)), campus.Prefix, time.Hour)
	}
}

// has counts which of the leases of bindMany are there.
func has(s *Store, count int) (found int) {
	for i := range count {
		if l, ok := s.LookupIP(address(0x0a100001 + uint32(i))); ok && l.MAC == journalMAC(i) && l.State == Active {
			found++
		}
	}
	return found
}

// TestJournal: what was acknowledged is in the files at any time, whether it has reached the database or not, and what was
// taken back or changed is not undone.
func TestJournal(t *testing.T) {
	for _, room := range []int64{300, 5000, journalLimit} {
		s, _ := newTest(t)
		s.mu.Lock()
		s.journal.limit, s.journal.room = room, room
		s.mu.Unlock()
		bindMany(t, s, 100)
		bind(t, s, journalMAC(0), address(0x0a100100), campus.Prefix, time.Hour) // gives up its former address
		if err := s.Release(ctx, journalMAC(1), address(0x0a100002)); err != nil {
			t.Fatal(err)
		}
		again := openTest(t, snapshot(t, s), newTestClock())
		if got, want := fmt.Sprint(again.All()), fmt.Sprint(s.All()); got != want {
			t.Errorf("room %d: after a crash\n%s\nbefore\n%s", room, got, want)
		}
		if n := has(again, 100); n != 98 {
			t.Errorf("room %d: %d of 98 leases", room, n)
		}
	}
}

// TestJournalOfAnother: a journal counts for nothing beside another database, nor one that the database has passed.
func TestJournalOfAnother(t *testing.T) {
	s, c := newTest(t)
	bindMany(t, s, 20)
	old := mustRead(t, journalPath(s.path))
	path := snapshot(t, s)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if n := len(openTest(t, path, newTestClock()).All()); n != 0 {
		t.Errorf("a new database has %d leases of a former one's journal", n)
	}
	if err := s.Release(ctx, journalMAC(3), address(0x0a100004)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journalPath(s.path), old, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, s.path, c)
	if l, _ := s.LookupIP(address(0x0a100004)); l.State != Released || has(s, 20) != 19 {
		t.Errorf("an old journal was read: %+v", l)
	}
}

// TestJournalDamage: a cut loses the end only, a scribble what it hits.
func TestJournalDamage(t *testing.T) {
	s, _ := newTest(t)
	bindMany(t, s, 50)
	path := snapshot(t, s)
	whole := mustRead(t, journalPath(path))
	size := len(whole) / 50
	database := mustRead(t, path)
	for name, d := range map[string]struct {
		data []byte
		want int
	}{
		"cut":      {whole[:len(whole)-1], 49},
		"cut far":  {whole[:10*size+5], 10},
		"empty":    {nil, 0},
		"scribble": {slices.Concat(whole[:10*size+20], []byte{255, 255}, whole[10*size+22:]), 49},
		"zeros":    {slices.Concat(whole[:10*size], make([]byte, 3*size), whole[13*size:]), 47},
		"tail":     {slices.Concat(whole, bytes.Repeat([]byte("tail"), 100)), 50},
	} {
		to := filepath.Join(t.TempDir(), "leases.db")
		for file, data := range map[string][]byte{to: database, journalPath(to): d.data} {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if n := has(openTest(t, to, newTestClock()), 50); n != d.want {
			t.Errorf("%s: %d leases, want %d", name, n, d.want)
		}
	}
}

// TestFoldWhenIdle: the database is brought up to the journal without more to do.
func TestFoldWhenIdle(t *testing.T) {
	s, _ := newTest(t)
	bindMany(t, s, 10)
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		path := snapshot(t, s)
		os.Remove(journalPath(path))
		again, err := open(path, Options{}, newTestClock().clock())
		if err == nil {
			n := has(again, 10)
			again.Close()
			if n == 10 {
				return
			}
		}
		if time.Since(begin) > 90*time.Second {
			t.Fatal("the database does not get the leases")
		}
	}
}

func FuzzJournal(f *testing.F) {
	j := &journal{name: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	now := moment{wall: time.Unix(1e9, 0)}
	r := record{ip: 0x0a000001, bits: 24, mac: macA, clientID: string(j.name[:]), end: time.Hour}
	frame := j.frame([]change{{r.ip, &r}, {ip: 0x0a000002}}, now)
	f.Add(frame)
	f.Add(slices.Concat(frame, frame[:20], frame))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, end, damaged := frames(data, j.name)
		if end > len(data) || damaged > end {
			t.Fatalf("end %d, damaged %d of %d bytes", end, damaged, len(data))
		}
		// What is appended there is read next.
		more, _, _ := frames(slices.Concat(data[:end], frame), j.name)
		if len(more) != len(entries)+2 {
			t.Fatalf("%d entries, then %d", len(entries), len(more))
		}
		if list, changes, err := replay(nil, entries, now); err == nil && len(list) > len(changes) {
			t.Fatalf("%d records of %d changes", len(list), len(changes))
		}
		latest := map[uint32]bool{}
		for _, e := range entries {
			latest[e.ip] = true
		}
		if ips := slices.Collect(maps.Keys(latest)); len(ips) > len(entries) {
			t.Fatal("more addresses than entries")
		}
	})
}
