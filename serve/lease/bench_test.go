package lease

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func benchMAC(i int64) string {
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", i>>24&255, i>>16&255, i>>8&255, i&255)
}

// BenchmarkOffer: new clients of a pool of a million addresses, and of one of
// which all but a few are leased.
func BenchmarkOffer(b *testing.B) {
	for _, leased := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("leased=%d", leased), func(b *testing.B) {
			s, _ := newTest(b)
			s.mu.Lock()
			for i := range leased {
				r := &record{ip: 0x0a100001 + uint32(i), bits: 12, mac: benchMAC(int64(i)), end: time.Hour}
				s.records.put(r)
				s.refresh(r.ip)
			}
			s.mu.Unlock()
			var mem runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&mem)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, err := s.Offer(Client{MAC: fmt.Sprintf("02:01:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255)}, campus, netip.Addr{}); err != nil && leased == 0 {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "offers/s")
			b.ReportMetric(float64(mem.HeapAlloc)/1e6, "heap-MB")
		})
	}
}

// BenchmarkBind: leases that are on disk, one client at a time and 64 at once.
func BenchmarkBind(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "leases.db"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var n atomic.Int64
			b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
			work := func() {
				i := n.Add(1)
				l := Lease{Client: Client{MAC: benchMAC(i)}, IP: address(0x0a100000 + uint32(i*7919)%(1<<20-2) + 1), Prefix: campus.Prefix, Duration: time.Hour}
				if _, err := s.Bind(ctx, l); err != nil {
					b.Error(err)
				}
			}
			if clients == 1 {
				for range b.N {
					work()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						work()
					}
				})
			}
			st := s.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "binds/s")
			b.ReportMetric(float64(st.Binds)/float64(st.Commits), "binds/commit")
		})
	}
}
