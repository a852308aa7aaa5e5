package build

import "testing"

// BenchmarkWarm is a build of which everything is in the cache, the segments too.
func BenchmarkWarm(b *testing.B) {
	opt := liveOptions(b)
	for b.Loop() {
		if _, err := Build(b.Context(), opt); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlan is the part of a build that settles its inputs.
func BenchmarkPlan(b *testing.B) {
	opt := liveOptions(b)
	opt.Cache.Offline = true
	for b.Loop() {
		if _, err := NewPlan(b.Context(), opt); err != nil {
			b.Fatal(err)
		}
	}
}
