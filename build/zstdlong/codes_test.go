package zstdlong

import (
	"bytes"
	"fmt"
	"testing"
)

// TestStandardTables: every cell of a table has a symbol.
func TestStandardTables(t *testing.T) {
	for _, table := range []struct {
		name    string
		table   *fseTable
		symbols int // RFC 8878, 3.1.1.3.2.2
	}{{"literals", &defaultLL, 36}, {"matches", &defaultML, 53}, {"offsets", &defaultOF, 29}} {
		cells := 0
		for _, n := range table.table.norm {
			cells += int(max(n, -n))
		}
		if cells != 1<<table.table.log || table.table.symbols != table.symbols {
			t.Errorf("%s: %d symbols in %d of %d cells", table.name, table.table.symbols, cells, 1<<table.table.log)
		}
	}
}

// TestFewSequences has contents so small that the standard tables are used for them.
func TestFewSequences(t *testing.T) {
	var content []byte
	for i := range 20 {
		content = fmt.Appendf(content, "%08X%s%.*s", i*i*2654435761, "00000000000000000000000000000000"[:12+i], i, "TRAILER!!! and a text")
	}
	for n := 1; n <= len(content); n++ {
		if got := unpack(t, pack(t, content[:n], Options{Size: int64(n)}, n)); !bytes.Equal(got, content[:n]) {
			t.Fatalf("%d bytes: other content", n)
		}
	}
}
