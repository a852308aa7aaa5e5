package gunzip

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	kgzip "github.com/klauspost/compress/gzip"
)

func ours(r io.Reader) (io.Reader, error)      { return NewReader(r) }
func klauspost(r io.Reader) (io.Reader, error) { return kgzip.NewReader(r) }

// BenchmarkReader has all kinds of made-up content.
func BenchmarkReader(b *testing.B) { benchmark(b, pack(b, contents()["mixed"], 6)) }

// BenchmarkSample has the gzip file that the environment variable GUNZIP_SAMPLE
// names, such as a layer: what is made up is too regular to judge by.
func BenchmarkSample(b *testing.B) {
	name := os.Getenv("GUNZIP_SAMPLE")
	if name == "" {
		b.Skip("GUNZIP_SAMPLE is not set")
	}
	packed, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, packed)
}

// benchmark measures this package and klauspost's in turn, so that both have
// the same from a machine that others use: ns/op are of both together.
func benchmark(b *testing.B, packed []byte) {
	best := [2]time.Duration{1 << 62, 1 << 62}
	var size int64
	for b.Loop() {
		for i, open := range []func(io.Reader) (io.Reader, error){ours, klauspost} {
			start := time.Now()
			z, err := open(bytes.NewReader(packed))
			if err == nil {
				size, err = io.Copy(io.Discard, struct{ io.Reader }{z})
			}
			if err != nil {
				b.Fatal(err)
			}
			best[i] = min(best[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(size)/1e6/best[0].Seconds(), "MB/s")
	b.ReportMetric(best[1].Seconds()/best[0].Seconds(), "times-klauspost")
}
