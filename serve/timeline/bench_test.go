package timeline

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
)

// BenchmarkBoots is 1,000 machines that boot, with the state file and its
// writes: time per event, and what a machine costs in memory.
func BenchmarkBoots(b *testing.B) {
	tl, err := Open(Options{Path: filepath.Join(b.TempDir(), "timeline.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tl.Close() }()
	events := wholeBoot(0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		for _, e := range events {
			e.MAC = fmt.Sprintf("02:00:00:00:%02x:%02x", n%1000>>8, n%1000&0xff)
			e.IP = ""
			tl.Event(e)
		}
		n++
		if n%1000 == 0 {
			if err := tl.flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*len(events)), "ns/event")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(tl.machines)), "B/machine")
}

// BenchmarkSnapshot is what /api/machines costs with 1,000 machines.
func BenchmarkSnapshot(b *testing.B) {
	tl, err := Open(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for n := range 1000 {
		for _, e := range wholeBoot(0) {
			e.MAC = fmt.Sprintf("02:00:00:00:%02x:%02x", n>>8, n&0xff)
			e.IP = ""
			tl.Event(e)
		}
	}
	for b.Loop() {
		if len(tl.Machines()) != 1000 {
			b.Fatal("machines are missing")
		}
	}
}
