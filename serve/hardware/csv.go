package hardware

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// Columns of EKS Anywhere's hardware.csv, in the order of its documentation.
// Their order in a file is free.
var (
	requiredColumns = []string{"hostname", "ip_address", "netmask", "gateway", "nameservers", "mac", "disk", "labels"}
	optionalColumns = []string{"bmc_ip", "bmc_username", "bmc_password", "vlan_id"}
	usualColumns    = []string{"hostname", "bmc_ip", "bmc_username", "bmc_password", "mac", "ip_address", "netmask", "gateway",
		"nameservers", "labels", "disk"}
)

// listSeparator stands between name servers and between labels.
const listSeparator = "|"

// ParseCSV reads EKS Anywhere's hardware.csv and applies its validation, with
// line and column in every error. Name must be the file's, for messages.
func ParseCSV(file string, data []byte) (Data, error) {
	r := &report{file: file}
	if !checkEncoding(r, data) {
		return Data{}, r.err()
	}
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte(byteOrderMark))))
	in.FieldsPerRecord = -1 // counted here, to go on after an error
	in.ReuseRecord = true
	header, err := in.Read()
	if err != nil {
		csvError(r, err)
		return Data{}, r.err()
	}
	columns, ok := readHeader(r, header)
	if !ok {
		return Data{}, r.err()
	}
	t := &csvTable{report: r, in: in, columns: columns, width: len(header)}
	machines := t.rows()
	checkUnique(r, machines, fieldBMC)
	return Data{Machines: stripPlaces(machines), Notes: r.notes}, r.err()
}

const byteOrderMark = "\xef\xbb\xbf"

// checkEncoding refuses what a spreadsheet exports as "Unicode text".
func checkEncoding(r *report, data []byte) bool {
	switch {
	case len(data) > maxFile:
		r.fail(place{}, "", "%d bytes: a hardware file has at most %d", len(data), maxFile)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		r.fail(place{}, "", "UTF-16 text: save it as UTF-8")
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		r.fail(place{}, "", "not UTF-8 text")
	default:
		return true
	}
	return false
}

func csvError(r *report, err error) {
	var at *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		r.fail(place{1, 1}, "", "empty: the first line names the columns (%s)", strings.Join(usualColumns, ","))
	case errors.As(err, &at):
		r.fail(place{at.Line, at.Column}, "", "%v", at.Err)
	default:
		r.fail(place{}, "", "%v", err)
	}
}

// readHeader returns where each column stands.
func readHeader(r *report, header []string) (map[string]int, bool) {
	columns := map[string]int{}
	for i, name := range header {
		name = strings.TrimSpace(name)
		if _, twice := columns[name]; twice && name != "" {
			r.fail(place{1, 1}, name, "this column is there twice")
		}
		columns[name] = i
		if name != "" && !slices.Contains(requiredColumns, name) && !slices.Contains(optionalColumns, name) {
			r.note(place{1, 1}, name, "unknown column, ignored")
		}
	}
	var missing []string
	for _, name := range requiredColumns {
		if _, ok := columns[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		hint := ""
		if len(header) == 1 && strings.Count(header[0], ";") > 3 {
			hint = " (columns are separated by commas, not by semicolons)"
		}
		r.fail(place{1, 1}, "", "missing required columns in csv: %s%s", strings.Join(missing, ", "), hint)
	}
	return columns, len(r.problems.List) == 0
}

// csvTable is a file after its header.
type csvTable struct {
	*report
	in      *csv.Reader
	columns map[string]int
	width   int
}

// rows reads to the end of the file.
func (t *csvTable) rows() []placed {
	var machines []placed
	for {
		record, err := t.in.Read()
		if errors.Is(err, io.EOF) {
			return machines
		}
		if err != nil {
			csvError(t.report, err)
			continue
		}
		line, _ := t.in.FieldPos(0)
		switch {
		case strings.TrimSpace(strings.Join(record, "")) == "":
			t.fail(place{line, 1}, "", "an empty row; delete it")
		case len(record) != t.width:
			t.fail(place{line, 1}, "", "%d fields, the header has %d columns", len(record), t.width)
		default:
			row := csvRow{t, record, line}
			machines = append(machines, row.machine())
		}
	}
}

// csvRow is one record with its place.
type csvRow struct {
	*csvTable
	record []string
	line   int
}

// cell returns a trimmed value and its place; a column that is not there is empty.
func (w csvRow) cell(name string) (string, place) {
	i, ok := w.columns[name]
	if !ok {
		return "", place{w.line, 1}
	}
	line, column := w.in.FieldPos(i)
	return strings.TrimSpace(w.record[i]), place{line, column}
}

// required reports an empty cell.
func (w csvRow) required(name string) (string, place, bool) {
	s, at := w.cell(name)
	if s == "" {
		w.fail(at, name, "empty")
	}
	return s, at, s != ""
}

// read gives a cell, required to be there, to parse and returns what that
// makes of it.
func read[T any](w csvRow, name string, parse func(string) (T, error)) (value T) {
	s, at, ok := w.required(name)
	if !ok {
		return value
	}
	value, err := parse(s)
	if err != nil {
		w.fail(at, name, "%v", err)
	}
	return value
}

func (w csvRow) machine() placed {
	m := Machine{
		Source:   fmt.Sprintf("%s:%d", w.file, w.line),
		Hostname: read(w, "hostname", parseHostname),
		MAC:      read(w, "mac", NormalizeMAC),
		Gateway:  read(w, "gateway", parseAddr),
		Disk:     read(w, "disk", parseDisk),
	}
	m.IP = w.address()
	m.NameServers = w.nameServers()
	m.Labels = w.labels()
	m.BMC = w.bmc()
	if s, at := w.cell("vlan_id"); s != "" {
		var err error
		if m.VLAN, err = parseVLAN(s); err != nil {
			w.fail(at, "vlan_id", "%v", err)
		}
	}
	if m.IP.IsValid() && m.Gateway.IsValid() && !m.IP.Contains(m.Gateway) {
		_, at := w.cell("gateway")
		w.note(at, "gateway", "%s is outside of the machine's subnet %s", m.Gateway, m.IP.Masked())
	}
	return placed{m, w.places(), ""}
}

// places is where the values stand that must be unique.
func (w csvRow) places() fieldPlaces {
	at := fieldPlaces{names: [...]string{"mac", "ip_address", "hostname", "bmc_ip"}}
	for i, name := range at.names {
		_, at.at[i] = w.cell(name)
	}
	return at
}

func (w csvRow) address() netip.Prefix {
	addr := read(w, "ip_address", parseAddr)
	mask, at, ok := w.required("netmask")
	if !ok || !addr.IsValid() {
		return netip.Prefix{}
	}
	bits, err := parseNetmask(mask, addr)
	if err != nil {
		w.fail(at, "netmask", "%v", err)
		return netip.Prefix{}
	}
	p, err := parseHost(addr, bits)
	if err != nil {
		_, at := w.cell("ip_address")
		w.fail(at, "ip_address", "%v", err)
	}
	return p
}

func (w csvRow) nameServers() (servers []netip.Addr) {
	s, at, ok := w.required("nameservers")
	if !ok {
		return nil
	}
	for each := range strings.SplitSeq(s, listSeparator) {
		addr, err := parseAddr(strings.TrimSpace(each))
		if err != nil {
			w.fail(at, "nameservers", "%v (several are separated by |)", err)
			continue
		}
		servers = append(servers, addr)
	}
	return servers
}

// labels may be empty; a key that is there twice keeps the last value, as EKS
// Anywhere has it.
func (w csvRow) labels() map[string]string {
	s, at := w.cell("labels")
	if s == "" {
		return nil
	}
	labels := map[string]string{}
	for pair := range strings.SplitSeq(s, listSeparator) {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || strings.Contains(value, "=") {
			w.fail(at, "labels", "%s is not key=value (several are separated by |)", quote(pair))
			continue
		}
		if err := checkLabel(key, value); err != nil {
			w.fail(at, "labels", "%v", err)
			continue
		}
		labels[key] = value
	}
	return labels
}

// bmc wants all three columns or none.
func (w csvRow) bmc() (b BMC) {
	address, _ := w.cell("bmc_ip")
	b.Username, _ = w.cell("bmc_username")
	if i, ok := w.columns["bmc_password"]; ok {
		b.Password = w.record[i] // spaces and all
	}
	if address == "" && b.Username == "" && b.Password == "" {
		return b
	}
	b.IP = read(w, "bmc_ip", parseAddr)
	for _, name := range []string{"bmc_username", "bmc_password"} {
		if _, ok := w.columns[name]; !ok || w.record[w.columns[name]] == "" {
			_, at := w.cell(name)
			w.fail(at, name, "empty, but other bmc columns are filled: all three or none")
		}
	}
	return b
}
