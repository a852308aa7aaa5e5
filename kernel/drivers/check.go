package drivers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hooksmith/kernel"
)

// Checker judges devices by what an artifact has. Artifact and Table are
// required.
type Checker struct {
	Artifact *Artifact
	Table    *Table
	Policy   *kernel.Policy // says which group and which package brings something; nil: nothing is said
	Flavors  []Flavor       // those that have the complete kernel's modules, the best first
	Own      string         // a flavor whose kernel can be configured; "": none is named
}

// Flavor is a flavor whose kernel is the complete one, and the groups of
// modules that it carries.
type Flavor struct {
	ID     string
	Arch   kernel.Arch
	Groups []string // AllGroups too
}

// State is how it stands with a device.
type State string

// The states, the good ones first.
const (
	OK          State = "ok"          // a module is in
	BuiltIn     State = "built in"    // the kernel itself drives it
	Maybe       State = "maybe"       // a module is in if what the listing leaves out fits
	NotNeeded   State = "-"           // no driver is known, and none is missed
	NoFirmware  State = "no firmware" // the module does not work without files that are not in
	Blocked     State = "blocked"     // the module is in and will not load
	Missing     State = "missing"     // a module is known, and not in
	Undrivable  State = "no driver"   // the complete kernel has none either
	Undecidable State = "class?"      // the device's class would tell
)

// bad are the states in which a machine has to do without the device.
var bad = []State{NoFirmware, Blocked, Missing, Undrivable, Undecidable}

// Report is all that is known about devices. Its JSON form is for scripts;
// Schema grows when a field goes or changes its meaning.
type Report struct {
	Schema    int       `json:"schema"`
	Artifact  *Artifact `json:"artifact"`
	Table     string    `json:"table"` // what missing drivers were looked up in
	Devices   []Result  `json:"devices"`
	Required  int       `json:"required"`  // network and storage devices
	Uncovered int       `json:"uncovered"` // those of them that will not work
	Warnings  []string  `json:"warnings,omitempty"`
}

// Result is one device.
type Result struct {
	Where    string   `json:"where"`
	Slot     string   `json:"slot,omitempty"`
	ID       string   `json:"id"`
	Class    string   `json:"class,omitempty"`
	Name     string   `json:"name,omitempty"`
	Modalias string   `json:"modalias"`
	Driver   string   `json:"driver,omitempty"` // where the listing was made
	Kind     Kind     `json:"kind"`
	Required bool     `json:"required"`
	State    State    `json:"state"`
	Modules  []Use    `json:"modules"`
	Notes    []string `json:"notes,omitempty"`
	Todo     []string `json:"todo,omitempty"`
}

// Use is a module that drives a device.
type Use struct {
	Name            string   `json:"name"`
	BuiltIn         bool     `json:"built_in,omitempty"`
	Maybe           []string `json:"maybe,omitempty"`    // parts of the device that are not known and have to fit
	Problem         string   `json:"problem,omitempty"`  // why it does not load
	Firmware        int      `json:"firmware,omitempty"` // files that it may ask for
	FirmwareMissing []string `json:"firmware_missing,omitempty"`
}

// Check judges each device.
func (c *Checker) Check(devices []Device) (*Report, error) {
	verdicts := make([]*verdict, len(devices))
	names := map[string]bool{}
	for i := range devices {
		verdicts[i] = c.look(&devices[i], names)
	}
	groups, err := c.groups(names)
	if err != nil {
		return nil, err
	}
	r := &Report{Schema: 1, Artifact: c.Artifact, Table: c.Table.From, Devices: []Result{}, Warnings: slices.Clone(c.Artifact.Warnings)}
	scsi := false
	for _, v := range verdicts {
		res := v.result(groups)
		r.Devices = append(r.Devices, res)
		if res.Required {
			r.Required++
			if slices.Contains(bad, res.State) {
				r.Uncovered++
			}
		}
		scsi = scsi || res.Required && slices.ContainsFunc(res.Modules, c.needsDisks)
	}
	if scsi && !c.Artifact.has("sd_mod") {
		r.Warnings = append(r.Warnings, "the module sd_mod (CONFIG_BLK_DEV_SD) is not in: controllers will work, their disks will not appear")
	}
	return r, nil
}

// ErrUncovered is returned by Report.Err.
var ErrUncovered = errors.New("not covered")

// Err tells of network and storage devices that will not work.
func (r *Report) Err() error {
	if r.Uncovered == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d network and storage devices will not work with %s", ErrUncovered, r.Uncovered, r.Required, r.Artifact.Source)
}

// needsDisks reports whether the disks behind a driver are SCSI's.
func (c *Checker) needsDisks(u Use) bool {
	d := c.Table.Lookup(u.Name)
	return d != nil && slices.ContainsFunc([]string{"drivers/scsi/", "drivers/ata/", "drivers/message/"}, func(p string) bool { return strings.HasPrefix(d.Path, p) })
}

// has reports whether the module is in, or built in.
func (a *Artifact) has(name string) bool { return a.modules[name] != nil || a.builtin[name] != nil }

// verdict is a Result in the making.
type verdict struct {
	c       *Checker
	groups  map[string]string
	device  *Device
	known   []found  // what the complete kernel would use
	foreign []string // what it would use on another architecture
	behind  *verdict // on the device that appears when this one works; nil: there is none
}

// look finds what the complete kernel has for a device, and notes its names.
func (c *Checker) look(d *Device, names map[string]bool) *verdict {
	v := &verdict{c: c, device: d}
	v.known, v.foreign = c.Table.match(d, c.Artifact.Arch)
	for _, f := range v.known {
		names[f.module] = true
	}
	if child, ok := d.virtioChild(); ok {
		v.behind = c.look(&child, names)
	}
	return v
}

// result judges the device.
func (v *verdict) result(groups map[string]string) Result {
	d := v.device
	v.groups = groups
	r := Result{
		Where: d.Where, Slot: d.Slot, ID: d.ID(), Class: d.Class(), Name: d.Name, Modalias: d.Modalias, Driver: d.Driver,
		Kind: d.Kind(), Modules: []Use{},
	}
	v.setKind(&r)
	classOnly := v.addUses(&r)
	v.setState(&r, classOnly)
	if v.behind != nil {
		r.take(v.behind.result(groups))
	}
	return r
}

// take adds what lies behind the device: the machine needs both.
func (r *Result) take(inner Result) {
	r.Kind, r.Required = inner.Kind, r.Required || inner.Required
	if r.State != Missing && (slices.Contains(bad, inner.State) || r.State == BuiltIn || r.State == NotNeeded) {
		r.State = inner.State
	}
	r.Modules = append(r.Modules, inner.Modules...)
	r.Notes = append(r.Notes, inner.Notes...)
	r.Todo = append(r.Todo, inner.Todo...)
}

// setKind asks the drivers where the device does not tell its kind.
func (v *verdict) setKind(r *Result) {
	kinds := []Kind{}
	carried := false
	for _, f := range v.known {
		if f.sure > byClass {
			kinds = append(kinds, v.c.Table.Lookup(f.module).Kind())
			carried = carried || v.groups[f.module] != ""
		}
	}
	vital := func(k Kind) bool { return k == Network || k == Storage }
	switch {
	case r.Kind == Network && len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k Kind) bool { return k != Wireless }):
		r.Kind = Wireless
	case r.Kind != Unknown:
	case slices.ContainsFunc(kinds, vital):
		r.Kind = kinds[slices.IndexFunc(kinds, vital)]
	case len(kinds) > 0:
		r.Kind = kinds[0]
	case r.Class != "" || v.device.PCI == nil:
		r.Kind = Other
	}
	r.Required = vital(r.Kind) || r.Kind == Unknown
	if b := v.device.Bus; b != "pci" && b != "virtio" && b != "vmbus" && b != "xen" {
		// The floppy controller of the firmware's tables is storage too.
		r.Required = r.Required && carried
	}
}

// addUses lists the modules of the artifact. It reports whether some would fit
// only by a class that is not known.
func (v *verdict) addUses(r *Result) (classOnly bool) {
	a := v.c.Artifact
	seen := map[string]bool{}
	for _, f := range a.aliases.match(v.device) {
		switch {
		case f.sure == byClass:
			classOnly = true
		case a.modules[f.module] != nil, a.builtin[f.module] != nil:
			seen[f.module] = true
			r.Modules = append(r.Modules, a.use(f))
		}
	}
	for _, f := range v.known {
		switch {
		case f.sure == byClass:
			classOnly = true
		case a.builtin[f.module] != nil && !seen[f.module]:
			r.Modules = append(r.Modules, a.use(f))
		}
	}
	return classOnly
}

// use looks at one module that fits.
func (a *Artifact) use(f found) Use {
	u := Use{Name: f.module, BuiltIn: a.modules[f.module] == nil, Maybe: f.open}
	if !u.BuiltIn {
		u.Problem = a.problem(f.module)
	}
	for _, name := range a.closure(f.module) {
		u.Firmware += len(a.firmware[name])
		u.FirmwareMissing = append(u.FirmwareMissing, a.missing[name]...)
	}
	slices.Sort(u.FirmwareMissing)
	u.FirmwareMissing = slices.Compact(u.FirmwareMissing)
	return u
}

// setState draws the conclusion.
func (v *verdict) setState(r *Result, classOnly bool) {
	r.State = v.stateOf(r.Modules)
	if r.State == Maybe {
		r.Notes = append(r.Notes, maybeNote(r.Modules))
	}
	switch {
	case r.State != "":
	case slices.ContainsFunc(v.known, func(f found) bool { return f.sure > byClass }):
		r.State = Missing
		v.adviseMissing(r)
	case len(v.foreign) > 0:
		r.State = Undrivable
		r.Todo = append(r.Todo, fmt.Sprintf("%s drives it, which is not for %s", strings.Join(v.foreign, ", "), v.c.Artifact.Arch))
	case classOnly && r.Class == "":
		r.State = Undecidable
		r.Todo = append(r.Todo, "give its class: "+r.ID+"@0108 is an NVMe disk, "+r.ID+"@0106 a SATA controller")
	case r.Required:
		r.State = Undrivable
		from, _, _ := strings.Cut(v.c.Table.From, ",")
		r.Todo = append(r.Todo, "no driver in the complete kernel either ("+from+"): ask the vendor for one (hooksmith kernel --external-module)")
	default:
		r.State = NotNeeded
	}
	v.adviseFirmware(r)
}

// stateOf is the best state among modules; "" if there are none.
func (v *verdict) stateOf(uses []Use) State {
	rank := []State{OK, BuiltIn, Maybe, NoFirmware, Blocked}
	best := len(rank)
	for _, u := range uses {
		state := OK
		switch {
		case u.Problem != "":
			state = Blocked
		case essential[u.Name] && u.Firmware > 0 && len(u.FirmwareMissing) >= u.Firmware:
			state = NoFirmware
		case len(u.Maybe) > 0:
			state = Maybe
		case u.BuiltIn:
			state = BuiltIn
		}
		best = min(best, slices.Index(rank, state))
	}
	if best == len(rank) {
		return ""
	}
	return rank[best]
}

// maybeNote says what a "maybe" depends on.
func maybeNote(uses []Use) string {
	var names, parts []string
	for _, u := range uses {
		if len(u.Maybe) > 0 && u.Problem == "" {
			names = append(names, u.Name)
			parts = append(parts, u.Maybe...)
		}
	}
	slices.Sort(parts)
	return fmt.Sprintf("%s: if the %s fits, which is not in the listing (lspci -vmmn has it)", strings.Join(names, ", "), strings.Join(slices.Compact(parts), " and "))
}
