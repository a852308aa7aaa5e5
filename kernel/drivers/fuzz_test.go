package drivers

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"testing/fstest"
)

func packed(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzTable(f *testing.F) {
	f.Add(tableMagic + "x\nice\tdrivers/ice\tCONFIG_ICE\tx86_64\tice.pkg\tpci:v00008086d*sv*sd*bc*sc*i*\n")
	f.Fuzz(func(t *testing.T, text string) {
		tab, err := parseTable(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, d := range tab.drivers {
			again, err := parseDriver(d.line())
			if err != nil || again.line() != d.line() {
				t.Errorf("%+v: %+v, %v", d, again, err)
			}
		}
	})
}

func FuzzModprobeConf(f *testing.F) {
	f.Add("blacklist ice\nalias pci:* x\ninstall y /bin/true\n# z\\\nblacklist q \\\n more\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readModprobeConf(fstest.MapFS{"etc/modprobe.d/a.conf": {Data: []byte(text)}})
		if err != nil {
			return
		}
		for name := range c.blacklist {
			if name == "" {
				t.Error("a module without a name")
			}
		}
	})
}
