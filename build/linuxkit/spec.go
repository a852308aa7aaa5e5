package linuxkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ociVersion is what LinuxKit 1.8.2 declares; no field used here is younger.
const ociVersion = "1.2.1"

// buildSpec makes the OCI configuration of a container of its merged settings
// (linuxkit.md 1.4).
func (n names) buildSpec(s *Settings, opts Options) (*specs.Spec, error) {
	mounts, mountErr := n.mounts(s, opts)
	process, processErr := n.process(s, opts)
	devices, rules, deviceErr := ociDevices(s.Devices.Value)
	if err := errors.Join(mountErr, processErr, deviceErr); err != nil {
		return nil, err
	}
	resources := s.Resources.Value
	resources.Devices = slices.Concat(resources.Devices, rules)
	return &specs.Spec{
		Version:     ociVersion,
		Process:     process,
		Root:        &specs.Root{Path: "rootfs", Readonly: s.Readonly.Value},
		Hostname:    s.Hostname.Value,
		Mounts:      mounts,
		Annotations: s.Annotations.Value,
		Linux: &specs.Linux{
			UIDMappings:       s.UIDMappings.Value,
			GIDMappings:       s.GIDMappings.Value,
			Sysctl:            s.Sysctl.Value,
			Resources:         &resources,
			CgroupsPath:       s.CgroupsPath.Value,
			Namespaces:        ociNamespaces(s),
			Devices:           devices,
			RootfsPropagation: s.RootfsPropagation.Value,
			MaskedPaths:       s.MaskedPaths.Value,
			ReadonlyPaths:     s.ReadonlyPaths.Value,
		},
	}, nil
}

func (n names) process(s *Settings, opts Options) (*specs.Process, error) {
	caps, capErr := capabilitiesOf(s.Capabilities, opts)
	ambient, ambientErr := capabilitiesOf(s.Ambient, opts)
	uid, uidErr := n.id(s.UID.Value)
	gid, gidErr := n.id(s.GID.Value)
	gids, gidsErr := n.idList(s.AdditionalGids.Value)
	rlimits, rlimitErr := ociRlimits(s.Rlimits.Value)
	p := &specs.Process{
		User:            specs.User{UID: uid, GID: gid, AdditionalGids: gids},
		Args:            s.Command.Value,
		Env:             s.Env.Value,
		Cwd:             s.Cwd.Value,
		Capabilities:    ociCapabilities(caps, ambient),
		Rlimits:         rlimits,
		NoNewPrivileges: s.NoNewPrivileges.Value,
	}
	if s.OOMScoreAdj.Set {
		p.OOMScoreAdj = &s.OOMScoreAdj.Value
	}
	return p, errors.Join(capErr, ambientErr, uidErr, gidErr, gidsErr, rlimitErr)
}

// id returns the number of a user or group.
func (n names) id(id ID) (uint32, error) {
	if id.Name == "" || id.Name == "root" {
		return id.Num, nil
	}
	num, ok := n.ids[id.Name]
	if ok {
		return num, nil
	}
	if _, isNumber := parseNumber(id.Name); isNumber {
		return 0, fmt.Errorf("no container %.40q to take the id of; write the number without quotes", id.Name)
	}
	return 0, fmt.Errorf("no container %.80q to take the id of%s", id.Name, didYouMean(id.Name, known(n.ids)))
}

func (n names) idList(list []ID) ([]uint32, error) {
	var nums []uint32
	for _, id := range list {
		num, err := n.id(id)
		if err != nil {
			return nil, err
		}
		nums = append(nums, num)
	}
	return nums, nil
}

// ociNamespaces lists the namespaces that a container does not share with the
// host, in LinuxKit's order. Only the PID namespace is new by default.
func ociNamespaces(s *Settings) []specs.LinuxNamespace {
	pid := s.Pid.Value
	if pid == "" {
		pid = "new"
	}
	net := s.Net.Value
	if net == "none" {
		net = "new"
	}
	var all []specs.LinuxNamespace
	for _, ns := range []struct {
		kind  specs.LinuxNamespaceType
		value string
	}{
		{specs.NetworkNamespace, net},
		{specs.IPCNamespace, s.Ipc.Value},
		{specs.UTSNamespace, s.Uts.Value},
		{specs.PIDNamespace, pid},
		{specs.UserNamespace, s.Userns.Value},
		{specs.MountNamespace, "new"},
	} {
		switch ns.value {
		case "", "host", "root":
		case "new":
			all = append(all, specs.LinuxNamespace{Type: ns.kind})
		default:
			all = append(all, specs.LinuxNamespace{Type: ns.kind, Path: ns.value})
		}
	}
	return all
}

// allDevices is the path that means every device of a type.
const allDevices = "all"

// ociDevices returns the nodes to make and the cgroup rules that allow them.
func ociDevices(devices []Device) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var nodes []specs.LinuxDevice
	var rules []specs.LinuxDeviceCgroup
	for _, dev := range devices {
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: dev.Type, Access: "rwm"}
		if dev.Path == allDevices {
			rules = append(rules, rule)
			continue
		}
		bits, err := strconv.ParseUint(dev.Mode, 8, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("device %.80q: %.40q is not an octal mode", dev.Path, dev.Mode)
		}
		mode := os.FileMode(bits)
		major, minor := dev.Major, dev.Minor
		rule.Major, rule.Minor = &major, &minor
		nodes = append(nodes, specs.LinuxDevice{Path: dev.Path, Type: dev.Type, Major: major, Minor: minor, FileMode: &mode})
		rules = append(rules, rule)
	}
	return nodes, rules, nil
}

// rlimits are the limits of setrlimit(2).
var rlimits = strings.Fields("RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE" +
	" RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME")

// parseRlimit reads `name,soft,hard`.
func parseRlimit(s string) (specs.POSIXRlimit, error) {
	var limit specs.POSIXRlimit
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return limit, fmt.Errorf("%.80q: a limit is name,soft,hard, this has %d part%s", s, len(parts), plural(len(parts)))
	}
	limit.Type = "RLIMIT_" + strings.ToUpper(strings.TrimSpace(parts[0]))
	if !slices.Contains(rlimits, limit.Type) {
		return limit, fmt.Errorf("%.80q: no limit %.80q%s", s, limit.Type, didYouMean(limit.Type, rlimits))
	}
	for i, to := range []*uint64{&limit.Soft, &limit.Hard} {
		value := strings.TrimSpace(parts[i+1])
		if value == "unlimited" {
			*to = math.MaxUint64
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return limit, fmt.Errorf("%.80q: %.40q is neither a number nor unlimited", s, value)
		}
		*to = n
	}
	return limit, nil
}

func checkRlimit(s string) error {
	_, err := parseRlimit(s)
	return err
}

func ociRlimits(list []string) ([]specs.POSIXRlimit, error) {
	var all []specs.POSIXRlimit
	for _, s := range list {
		limit, err := parseRlimit(s)
		if err != nil {
			return nil, err
		}
		all = append(all, limit)
	}
	return all, nil
}

// marshal writes config.json and runtime.json as LinuxKit does: indented by
// four spaces, without a newline at the end.
func marshal(v any) ([]byte, error) { return json.MarshalIndent(v, "", "    ") }
