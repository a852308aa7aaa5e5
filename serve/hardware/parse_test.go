package hardware

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// parseFile reads a file of testdata.
func parseTestdata(t testing.TB, name string) []Machine {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := Parse(name, content)
	if err != nil {
		t.Fatal(err)
	}
	if len(data.Notes) > 0 {
		t.Errorf("notes: %q", data.Notes)
	}
	return data.Machines
}

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestFormats(t *testing.T) {
	route := func(to, via string) []Route {
		return []Route{{netip.MustParsePrefix(to), netip.MustParseAddr(via)}}
	}
	gw := netip.MustParseAddr("10.10.50.1")
	bmc := func(ip, password string) BMC { return BMC{netip.MustParseAddr(ip), "root", password} }
	worker := map[string]string{"type": "worker"}
	tests := map[string][]Machine{
		"hardware.csv": {
			{MAC: "cc:48:3a:00:00:01", Hostname: "worker1", Source: "hardware.csv:2", IP: netip.MustParsePrefix("10.10.50.2/23"), Gateway: gw,
				NameServers: addrs("8.8.8.8", "8.8.4.4"), Labels: map[string]string{"type": "cp"}, Disk: "/dev/sda", BMC: bmc("10.10.44.1", "PrZ8W93i")},
			{MAC: "cc:48:3a:00:00:02", Hostname: "worker2", Source: "hardware.csv:3", IP: netip.MustParsePrefix("10.10.50.3/23"), Gateway: gw,
				NameServers: addrs("8.8.8.8"), Labels: map[string]string{"type": "worker", "zone": "b"}, Disk: "/dev/sda", BMC: bmc("10.10.44.2", ` secret, "x"`)},
			{MAC: "cc:48:3a:00:00:03", Hostname: "worker3", Source: "hardware.csv:4", IP: netip.MustParsePrefix("10.10.50.4/23"), Gateway: gw,
				NameServers: addrs("8.8.8.8"), Disk: "/dev/nvme0n1"},
		},
		"tinkerbell.yaml": {
			{MAC: "cc:48:3a:00:00:01", Hostname: "node1", Source: "tinkerbell.yaml:13", IP: netip.MustParsePrefix("10.10.50.2/23"), Gateway: gw,
				NameServers: addrs("8.8.8.8"), LeaseTime: 4294967294 * time.Second, VLAN: 12, Routes: route("10.9.0.0/16", "10.10.50.9"), Arch: "x86_64",
				Labels: worker, Disk: "/dev/disk/by-id/nvme-1", Netboot: Netboot{Allow: On, Binary: "snp-x86_64.efi", HookURL: "http://10.0.0.1/hook",
					Kernel: "vmlinuz-x", Initrd: "initramfs-x", KernelArgs: []string{"a=1", "b=2"}, Facility: "onprem", WorkerID: "agent-7"}},
			{MAC: "cc:48:3a:00:00:02", Hostname: "node1", Source: "tinkerbell.yaml:30", DHCP: Off, Labels: worker, Disk: "/dev/disk/by-id/nvme-1",
				Netboot: Netboot{Allow: Off, Facility: "onprem", WorkerID: "agent-7"}},
			{MAC: "cc:48:3a:00:00:03", Hostname: "node2", Source: "tinkerbell.yaml:52", IP: netip.MustParsePrefix("10.10.50.3/23"), Gateway: gw,
				LeaseTime: time.Hour, Disk: "/dev/sda", Netboot: Netboot{KernelArgs: []string{"c=3"}}},
			{MAC: "cc:48:3a:00:00:04", Source: "tinkerbell.yaml:54", DHCP: Off, Disk: "/dev/sda", Netboot: Netboot{KernelArgs: []string{"c=3"}}},
		},
		"smee.yaml": {
			{MAC: "08:00:27:29:4e:67", Hostname: "pxe-virtualbox", Source: "smee.yaml:1", IP: netip.MustParsePrefix("192.168.2.153/24"),
				Gateway: netip.MustParseAddr("192.168.2.1"), NameServers: addrs("8.8.8.8", "1.1.1.1"), TimeServers: addrs("132.163.96.2"),
				Domain: "example.com", LeaseTime: 24 * time.Hour, Arch: "x86_64",
				Netboot: Netboot{Allow: On, ScriptURL: "https://boot.netboot.xyz", Console: "ttyS1", Facility: "onprem"}},
			{MAC: "52:54:00:aa:88:2a", Source: "smee.yaml:20", IP: netip.MustParsePrefix("192.168.2.15/24")},
		},
		"native.yaml": {
			{MAC: "02:00:00:00:00:01", Hostname: "node1", Source: "native.yaml:7", IP: netip.MustParsePrefix("10.0.0.11/24"),
				Gateway: netip.MustParseAddr("10.0.0.1"), NameServers: addrs("10.0.0.2"), Labels: map[string]string{"site": "lab", "type": "worker"},
				Netboot: Netboot{KernelArgs: []string{"console=ttyS0"}}},
			{MAC: "02:00:00:00:00:02", Source: "native.yaml:11", IP: netip.MustParsePrefix("10.0.0.12/24"),
				Gateway: netip.MustParseAddr("10.0.0.254"), NameServers: addrs("10.0.0.2"), LeaseTime: 24 * time.Hour, VLAN: 12, DHCP: Off,
				Routes: route("10.9.0.0/16", "10.0.0.9"), Arch: "aarch64", Labels: map[string]string{"site": "lab"},
				Netboot: Netboot{Allow: On, Script: "#!ipxe\nshell\n", KernelArgs: []string{"console=ttyS0"}},
				BMC:     BMC{netip.MustParseAddr("10.0.1.12"), "admin", "007"}},
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			got := parseTestdata(t, name)
			if len(got) != len(want) {
				t.Fatalf("%d machines, want %d: %+v", len(got), len(want), got)
			}
			for i := range want {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Errorf("machine %d\n got %+v\nwant %+v", i, got[i], want[i])
				}
			}
		})
	}
}

const csvHead = "hostname,mac,ip_address,netmask,gateway,nameservers,labels,disk,vlan_id,bmc_ip,bmc_username,bmc_password\n"

func TestCSVErrors(t *testing.T) {
	row := func(cells string) string { return csvHead + cells + "\n" }
	const good = "n1,02:00:00:00:00:01,10.0.0.1,255.0.0.0,10.0.0.254,1.1.1.1,a=b,/dev/sda,,,,"
	tests := []struct{ name, in, want string }{ // want: all messages, "" none
		{"good", row(good), ""},
		{"byte order mark, CRLF, no last line end", byteOrderMark + strings.ReplaceAll(row(good), "\n", "\r\n"), ""},
		{"prefix length", row(strings.Replace(good, "255.0.0.0", "8", 1)), ""},
		{"empty", "", "f.csv:1:1: empty: the first line"},
		{"columns", "mac,hostname\n", "f.csv:1:1: missing required columns in csv: ip_address, netmask, gateway, nameservers, disk, labels"},
		{"semicolons", strings.ReplaceAll(csvHead, ",", ";"), "separated by commas, not by semicolons"},
		{"column twice", "mac," + csvHead, "f.csv:1:1: mac: this column is there twice"},
		{"UTF-16", "\xff\xfem\x00", "f.csv: UTF-16 text: save it as UTF-8"},
		{"fields", row(good + ","), "f.csv:2:1: 13 fields, the header has 12 columns"},
		{"empty row", row(",,,,,,,,,,,"), "f.csv:2:1: an empty row; delete it"},
		{"quotes", row(`n1,"a"b,c`), `f.csv:2:6: extraneous or missing " in quoted-field`},
		{"mac", row(strings.Replace(good, "02:00:00:00:00:01", "02:00:00:00:00", 1)), `f.csv:2:4: mac: "02:00:00:00:00" is not a MAC address`},
		{"hostname", row(strings.Replace(good, "n1", "N_1", 1)), `f.csv:2:1: hostname: "N_1" is not a host name`},
		{"netmask", row(strings.Replace(good, "255.0.0.0", "255.0.255.0", 1)), `f.csv:2:31: netmask: "255.0.255.0" is not a netmask: ones, then zeros`},
		{"all at once", row("n1,x,10.0.0.300,,y,,a,sda,4095,,,"), `f.csv:2:4: mac: "x" is not a MAC address such as 52:54:00:12:34:56
f.csv:2:6: ip_address: "10.0.0.300" is not an IP address
f.csv:2:17: netmask: empty
f.csv:2:18: gateway: "y" is not an IP address
f.csv:2:20: nameservers: empty
f.csv:2:21: labels: "a" is not key=value (several are separated by |)
f.csv:2:23: disk: "sda" is not a disk such as /dev/sda (^(/dev/[\w-]+)+$)
f.csv:2:27: vlan_id: "4095" is not a VLAN id (1 to 4094)`},
		{"bmc in part", row(strings.Replace(good, ",,,,", ",,10.1.0.1,,x", 1)), "f.csv:2:83: bmc_username: empty, but other bmc columns are filled: all three or none"},
		{"label", row(strings.Replace(good, "a=b", "a=b|-=c|d=e=f", 1)), `f.csv:2:60: labels: "-" is not a Kubernetes label key
f.csv:2:60: labels: "d=e=f" is not key=value (several are separated by |)`},
		{"broadcast", row(strings.Replace(good, ",10.0.0.1,", ",10.255.255.255,", 1)), "10.255.255.255 is the broadcast address of the subnet 10.0.0.0/8"},
		{"twice", row(good + "\n" + good), `f.csv:3:1: hostname: n1 is also that of f.csv:2
f.csv:3:4: mac: 02:00:00:00:00:01 is also that of f.csv:2
f.csv:3:22: ip_address: 10.0.0.1 is also that of f.csv:2`},
		{"bounded", csvHead + strings.Repeat("x\n", 1000), "and 950 more"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("f.csv", []byte(test.in))
			checkError(t, err, test.want)
		})
	}
}

// checkError wants an error that contains want, or none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		t.Errorf("%T has no *Problem in it", err)
	}
}

func TestYAMLErrors(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "# nothing\n", "f.yaml: empty: no machines in it"},
		{"no machines", "machines: []\n", ""},
		{"something else", "a: b\n", "f.yaml:1:1: neither a list of machines (machines:)"},
		{"syntax", "machines:\n- mac: [\n", "f.yaml:2:8: YAML:"},
		{"tab", "machines:\n\t- mac: x\n", "f.yaml:2:1: YAML:"},
		{"all at once", "machines:\n- mac: x\n  Host_Name: a\n  ip: 10.0.0.0/24\n  netboot: {args: a, script: s, script_url: ftp://x}\n- hostname: a\n",
			`f.yaml:2:8: machines[0].mac: "x" is not a MAC address such as 52:54:00:12:34:56
f.yaml:3:3: machines[0].Host_Name: unknown key (meant is hostname)
f.yaml:4:7: machines[0].ip: 10.0.0.0 is the address of the subnet 10.0.0.0/24 itself
f.yaml:5:19: machines[0].netboot.args: a value, but a list is wanted
f.yaml:5:45: machines[0].netboot.script_url: "ftp://x" is not a URL that iPXE can fetch (http, https, tftp)
f.yaml:6:3: machines[1].mac: missing; it is how a machine is known`},
		{"key twice", "machines:\n- mac: 02:00:00:00:00:01\n  mac: 02:00:00:00:00:02\n", "f.yaml:3:3: machines[0].mac: this key is there twice"},
		{"machine twice", "machines:\n- mac: 02:00:00:00:00:01\n- mac: 02:00:00:00:00:01\n", "f.yaml:3:8: machines[1].mac: 02:00:00:00:00:01 is also that of f.yaml:2"},
		{"no netmask", "machines:\n- mac: 02:00:00:00:00:01\n  ip: 10.0.0.1\n", "f.yaml:3:7: machines[0].ip: 10.0.0.1 has no netmask"},
		{"newline", "machines:\n- mac: 02:00:00:00:00:01\n  netboot: {args: [\"a\\nb\"]}\n", "machines[0].netboot.args[0]: \"a\\nb\": one line of text"},
		{"alias", "machines: *x\n", "f.yaml:1:11: YAML: alias *x has no anchor before it"},
		{"deep", strings.Repeat("[", 10000), "YAML nested too deeply"},
		{"second document", "kind: Hardware\n---\nkind: Hardware\nspec: {agentID: [\n", "f.yaml:4:17: YAML:"},
		{"in the second document", "kind: Hardware\n--- # two\nkind: Hardware\nspec:\n  interfaces: [{dhcp: {mac: x}}]\n", "f.yaml:5:29: Hardware.spec.interfaces[0].dhcp.mac:"},
		{"many keys", "x: {" + strings.Repeat("a: b, ", 30000) + "}", "more than 20000 keys in one object"},
		{"many keys in blocks", "x:\n" + strings.Repeat("  a: b\n", 30000), "f.yaml:20002:4: more than 20000 keys in one object"},
		{"tinkerbell", "kind: Hardware\nspec:\n  interfaces:\n  - dhcp: {mac: x}\n  - netboot: {}\n  - dhcp: {mac: 02:00:00:00:00:01, lease_time: -1, name_servers: [dns]}\n",
			`f.yaml:4:17: Hardware.spec.interfaces[0].dhcp.mac: "x" is not a MAC address such as 52:54:00:12:34:56
f.yaml:5:5: Hardware.spec.interfaces[1].dhcp.mac: missing; it is how a machine is known
f.yaml:6:48: Hardware.spec.interfaces[2].dhcp.lease_time: "-1" is not a time: seconds, or 90m, 24h
f.yaml:6:67: Hardware.spec.interfaces[2].dhcp.name_servers[0]: "dns" is not an IP address`},
		{"smee", "02:00:00:00:00:01: {ipAddress: 10.0.0.1}\nx: {}\n", "f.yaml:1:21: 02:00:00:00:00:01.ipAddress: 10.0.0.1 has no netmask\nf.yaml:2:1: x: \"x\" is not a MAC"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(test.in))
			checkError(t, err, test.want)
		})
	}
}

// TestMergeKeys: anchors are how people share values among machines.
func TestMergeKeys(t *testing.T) {
	data, err := Parse("f.yaml", []byte("machines:\n- &a\n  mac: 02:00:00:00:00:01\n  arch: aarch64\n- <<: *a\n  mac: 02:00:00:00:00:02\n"))
	if err != nil || len(data.Machines) != 2 || data.Machines[1].Arch != "aarch64" || data.Machines[1].MAC != "02:00:00:00:00:02" {
		t.Errorf("%+v, %v", data, err)
	}
}

// TestCSVRow: what is generated for a machine is read back as it.
func TestCSVRow(t *testing.T) {
	for _, want := range parseTestdata(t, "hardware.csv") {
		data, err := ParseCSV("row.csv", []byte(CSVHeader()+"\n"+CSVRow(want, nil)+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		got := data.Machines[0]
		got.Source = want.Source
		if len(want.Labels) == 0 {
			want.Labels = map[string]string{"type": "worker"}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
	}
	unknown := CSVRow(Machine{MAC: "02:00:00:00:00:01", VLAN: 7}, []string{"mac", "hostname", "ip_address", "vlan_id", "x", "disk"})
	if want := "02:00:00:00:00:01,node-020000000001,,7,,/dev/sda"; unknown != want {
		t.Errorf("got %s, want %s", unknown, want)
	}
}

// TestCompactJSON: what programs write, all in one line.
func TestCompactJSON(t *testing.T) {
	var all []string
	for i := range 500 {
		all = append(all, fmt.Sprintf(`{"kind":"Hardware","spec":{"interfaces":[{"dhcp":{"mac":"02:00:00:00:%02x:%02x","lease_time":3600}}]}}`, i>>8, i&255))
	}
	data, err := Parse("f.json", []byte(`{"apiVersion":"v1","kind":"List","items":[`+strings.Join(all, ",")+`]}`))
	if err != nil || len(data.Machines) != 500 || data.Machines[499].LeaseTime != time.Hour {
		t.Errorf("%d machines, %v", len(data.Machines), err)
	}
}

// many writes n machines in a format.
func many(format string, n int) []byte {
	var b strings.Builder
	switch format {
	case "csv":
		b.WriteString(csvHead)
	case "native":
		b.WriteString("machines:\n")
	}
	for i := range n {
		mac := fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16, i>>8&255, i&255)
		ip := fmt.Sprintf("10.%d.%d.%d", 1+i>>16, i>>8&255, i&255)
		switch format {
		case "csv":
			fmt.Fprintf(&b, "node%d,%s,%s,255.0.0.0,10.0.0.1,1.1.1.1|8.8.8.8,type=worker,/dev/sda,,,,\n", i, mac, ip)
		case "native":
			fmt.Fprintf(&b, "- mac: %s\n  hostname: node%d\n  ip: %s/8\n  gateway: 10.0.0.1\n  labels: {type: worker}\n  netboot:\n    args: [a=b]\n", mac, i, ip)
		case "smee":
			fmt.Fprintf(&b, "%s:\n  ipAddress: %s\n  subnetMask: 255.0.0.0\n  hostname: node%d\n  netboot:\n    allowPxe: true\n", mac, ip, i)
		case "tinkerbell":
			fmt.Fprintf(&b, "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata:\n  name: node%d\nspec:\n  interfaces:\n  - dhcp:\n"+
				"      mac: %s\n      hostname: node%d\n      ip: {address: %s, netmask: 255.0.0.0}\n    netboot:\n      allowPXE: true\n", i, mac, i, ip)
		}
	}
	return []byte(b.String())
}

// BenchmarkParse10000 is what a reload costs a large site.
func BenchmarkParse10000(b *testing.B) {
	for _, format := range []string{"csv", "native", "tinkerbell", "smee"} {
		b.Run(format, func(b *testing.B) {
			content, name := many(format, 10000), "f.yaml"
			if format == "csv" {
				name = "f.csv"
			}
			for b.Loop() {
				data, err := Parse(name, content)
				if err != nil || len(data.Machines) != 10000 {
					b.Fatal(len(data.Machines), err)
				}
			}
		})
	}
}

// fuzz checks what holds for any file: no panic, errors are bounded and name
// the file, machines have a MAC address and can be indexed.
func fuzz(f *testing.F, name string, seeds ...string) {
	for _, seed := range seeds {
		content, err := os.ReadFile("testdata/" + seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		data, err := Parse(name, content)
		if err != nil {
			var p *Problems
			if !errors.As(err, &p) || len(p.List) > maxProblems || !strings.HasPrefix(err.Error(), name) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for i := range data.Machines {
			if mac, err := NormalizeMAC(data.Machines[i].MAC); err != nil || mac != data.Machines[i].MAC {
				t.Fatalf("MAC %q", data.Machines[i].MAC)
			}
		}
	})
}

func FuzzCSV(f *testing.F)        { fuzz(f, "f.csv", "hardware.csv") }
func FuzzTinkerbell(f *testing.F) { fuzz(f, "f.yaml", "tinkerbell.yaml", "smee.yaml") }
func FuzzNative(f *testing.F)     { fuzz(f, "f.yaml", "native.yaml") }
