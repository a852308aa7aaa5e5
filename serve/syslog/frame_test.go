package syslog

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func readFrames(r io.Reader, limit int) (messages []string, cuts int, err error) {
	f := newFrames(r, limit)
	for {
		m, cut, err := f.next()
		if errors.Is(err, io.EOF) {
			return messages, cuts, nil
		}
		if err != nil {
			return messages, cuts, err
		}
		if cut {
			cuts++
		}
		messages = append(messages, string(m))
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 9000)
	for _, tt := range []struct {
		name, in string
		want     []string
		cuts     int
	}{
		{"lines", "<13>a: 1\n<13>a: 2\r\n\n<13>a: 3", []string{"<13>a: 1", "<13>a: 2\r", "<13>a: 3"}, 0},
		{"counted", "8 <13>a: 18 <13>a: 2", []string{"<13>a: 1", "<13>a: 2"}, 0},
		{"counted, line breaks within and between", "8 <13>a:\n1\n8 <13>a: 2\n", []string{"<13>a:\n1", "<13>a: 2"}, 0},
		{"counted, later ones without priority", "8 <13>a: 12 hi", []string{"<13>a: 1", "hi"}, 0},
		{"counted, cut off", "8 <13>a: 18 <13>", []string{"<13>a: 1", "<13>"}, 0},
		{"lost count", "8 <13>a: 1oops\n3 abc", []string{"<13>a: 1", "oops", "3 abc"}, 0},
		{"a line that begins with a number", "2026-11-21 up\n12 monkeys\n8 <13>a: 1\n", []string{"2026-11-21 up", "12 monkeys", "8 <13>a: 1"}, 0},
		{"a number alone", "12", []string{"12"}, 0},
		{"too many digits", "123456789 <13>x\n", []string{"123456789 <13>x"}, 0},
		{"long line", long + "\nshort\n", []string{long[:5000], "short"}, 1},
		{"long count", "9004 <13>" + long[:9000] + "5 <1>ab", []string{"<13>" + long[:4996], "<1>ab"}, 1},
		{"just as long", long[:5000] + "\nshort", []string{long[:5000], "short"}, 0},
		{"nothing", "\n\r\n \x00", nil, 0},
	} {
		for kind, r := range map[string]io.Reader{
			"": strings.NewReader(tt.in), " by bytes": iotest.OneByteReader(strings.NewReader(tt.in)), " with its end": iotest.DataErrReader(strings.NewReader(tt.in)),
		} {
			got, cuts, err := readFrames(r, 5000)
			if err != nil || !slices.Equal(got, tt.want) || cuts != tt.cuts {
				t.Errorf("%s%s: %.300q, %d cut, %v; want %.300q, %d", tt.name, kind, got, cuts, err, tt.want, tt.cuts)
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	for _, s := range []string{"<13>a: 1\n<13>a: 2\n", "8 <13>a: 18 <13>a: 2", "9999999 <1>", "8 <13>a: 1oops\n3 abc"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 100
		got, _, err := readFrames(strings.NewReader(string(b)), limit)
		if err != nil {
			t.Fatal(err)
		}
		bytewise, _, _ := readFrames(iotest.OneByteReader(strings.NewReader(string(b))), limit)
		if !slices.Equal(got, bytewise) {
			t.Errorf("%q, byte by byte %q", got, bytewise)
		}
		total := 0
		for _, m := range got {
			if len(m) > limit {
				t.Errorf("%d bytes", len(m))
			}
			total += len(m)
		}
		if total > len(b) {
			t.Errorf("%d bytes became %d", len(b), total)
		}
	})
}
