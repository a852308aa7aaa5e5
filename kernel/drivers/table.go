package drivers

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"hooksmith/guest/modalias"
	"hooksmith/kernel"
)

// Table is what a complete kernel drives: configs/drivers.tsv.gz, which
// scripts/drivertable makes of Debian's kernels and of their source.
type Table struct {
	From string // what it was made of, for people

	drivers map[string]*Driver
	aliases *aliases
}

// Driver is one module of the complete kernel.
type Driver struct {
	Name     string
	Path     string // below kernel/, without suffix: "drivers/net/ethernet/intel/ice/ice"
	Symbol   string // that builds it: "CONFIG_ICE"; "" if the Makefiles do not tell
	Archs    []kernel.Arch
	Firmware []string
	Aliases  []string // patterns of devices only
}

// Kind is what the driver is for.
func (d *Driver) Kind() Kind { return pathKind(d.Path) }

// tableMagic begins the first line.
const tableMagic = "# hooksmith driver table 1: "

// Bounds of a table.
const (
	maxTable     = 32 << 20
	maxTableLine = 1 << 20
)

// ReadTable reads what WriteTable has written.
func ReadTable(r io.Reader) (*Table, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("driver table: %w", err)
	}
	return parseTable(z)
}

func parseTable(r io.Reader) (*Table, error) {
	t := &Table{drivers: map[string]*Driver{}, aliases: newAliases()}
	scan := bufio.NewScanner(io.LimitReader(r, maxTable))
	scan.Buffer(nil, maxTableLine)
	for n := 1; scan.Scan(); n++ {
		line := scan.Text()
		if n == 1 {
			var ok bool
			if t.From, ok = strings.CutPrefix(line, tableMagic); !ok {
				return nil, errors.New("driver table: line 1: not a table of this version")
			}
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		d, err := parseDriver(line)
		if err != nil {
			return nil, fmt.Errorf("driver table: line %d: %w", n, err)
		}
		t.add(d)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("driver table: %w", err)
	}
	if len(t.drivers) == 0 {
		return nil, errors.New("driver table: it is empty")
	}
	return t, nil
}

func (t *Table) add(d *Driver) {
	t.drivers[d.Name] = d
	for _, a := range d.Aliases {
		t.aliases.add(a, d.Name)
	}
}

func parseDriver(line string) (*Driver, error) {
	f := strings.Split(line, "\t")
	if len(f) != 6 || f[0] == "" || f[1] == "" {
		return nil, fmt.Errorf("%.80q: want six fields: name, path, symbol, architectures, firmware, aliases", line)
	}
	d := &Driver{Name: f[0], Path: f[1], Symbol: f[2], Firmware: strings.Fields(f[4]), Aliases: strings.Fields(f[5])}
	for _, name := range strings.Fields(f[3]) {
		arch, err := kernel.ParseArch(name)
		if err != nil {
			return nil, err
		}
		d.Archs = append(d.Archs, arch)
	}
	return d, nil
}

// WriteTable writes drivers so that the same ones give the same bytes. from
// says what they were taken from.
func WriteTable(w io.Writer, from string, drivers []Driver) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(z)
	fmt.Fprintf(b, "%s%s\n", tableMagic, from)
	fmt.Fprint(b, "# Made by scripts/drivertable: name, path, symbol, architectures, firmware, aliases of devices. Do not edit.\n")
	sorted := slices.SortedFunc(slices.Values(drivers), func(x, y Driver) int { return strings.Compare(x.Name, y.Name) })
	for _, d := range sorted {
		line := d.line()
		if _, err := parseDriver(line); err != nil {
			return err
		}
		fmt.Fprintln(b, line)
	}
	return errors.Join(b.Flush(), z.Close())
}

// line is what parseDriver reads.
func (d *Driver) line() string {
	archs := make([]string, len(d.Archs))
	for i, a := range d.Archs {
		archs[i] = string(a)
	}
	return strings.Join([]string{d.Name, d.Path, d.Symbol, strings.Join(archs, " "), strings.Join(d.Firmware, " "), strings.Join(d.Aliases, " ")}, "\t")
}

// Lookup returns a driver by its name; nil if the complete kernel has none.
func (t *Table) Lookup(name string) *Driver { return t.drivers[modalias.ModuleName(name)] }

// match lists the drivers for a device on an architecture, and those that it
// would have on others, by their names.
func (t *Table) match(d *Device, arch kernel.Arch) (here []found, elsewhere []string) {
	for _, f := range t.aliases.match(d) {
		if slices.Contains(t.drivers[f.module].Archs, arch) {
			here = append(here, f)
		} else if f.sure > byClass {
			elsewhere = append(elsewhere, f.module)
		}
	}
	return here, elsewhere
}
