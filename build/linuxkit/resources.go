package linuxkit

import specs "github.com/opencontainers/runtime-spec/specs-go"

// The fields of `resources` are those of the runtime-spec, all of them:
// LinuxKit accepts kernelTCP, disableOOMKiller, realtime*, leafWeight,
// weightDevice, throttle*, hugepageLimits and classID, and drops them without
// a word (linuxkit.md 9.10). Here they reach config.json.

// droppedByLinuxKit are the keys that LinuxKit loses, by their object.
var droppedByLinuxKit = map[string][]string{
	"memory":  {"kernelTCP", "disableOOMKiller"},
	"cpu":     {"realtimeRuntime", "realtimePeriod"},
	"blockio": {"leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"},
	"network": {"classID"},
}

func resourcesFields(r *specs.LinuxResources) fields {
	return fields{
		"devices":        put(&r.Devices, listOf(objectOf(ruleFields))),
		"memory":         put(&r.Memory, pointer(objectOf(memoryFields))),
		"cpu":            put(&r.CPU, pointer(objectOf(cpuFields))),
		"pids":           put(&r.Pids, pointer(readPids)),
		"blockio":        put(&r.BlockIO, pointer(objectOf(blockIOFields))),
		"hugepageLimits": put(&r.HugepageLimits, listOf(objectOf(hugepageFields))),
		"network":        put(&r.Network, pointer(objectOf(networkFields))),
	}
}

func ruleFields(r *specs.LinuxDeviceCgroup) fields {
	return fields{
		"allow":  put(&r.Allow, readBool),
		"type":   put(&r.Type, stringOf()),
		"major":  put(&r.Major, pointer(readInt64)),
		"minor":  put(&r.Minor, pointer(readInt64)),
		"access": put(&r.Access, stringOf()),
	}
}

func memoryFields(m *specs.LinuxMemory) fields {
	return fields{
		"limit":       put(&m.Limit, pointer(readInt64)),
		"reservation": put(&m.Reservation, pointer(readInt64)),
		"swap":        put(&m.Swap, pointer(readInt64)),
		//lint:ignore SA1019 a key of the format, whatever cgroup v2 makes of it
		"kernel":            put(&m.Kernel, pointer(readInt64)),
		"kernelTCP":         put(&m.KernelTCP, pointer(readInt64)),
		"swappiness":        put(&m.Swappiness, pointer(readUint64)),
		"disableOOMKiller":  put(&m.DisableOOMKiller, pointer(readBool)),
		"useHierarchy":      put(&m.UseHierarchy, pointer(readBool)),
		"checkBeforeUpdate": put(&m.CheckBeforeUpdate, pointer(readBool)),
	}
}

func cpuFields(c *specs.LinuxCPU) fields {
	return fields{
		"shares":          put(&c.Shares, pointer(readUint64)),
		"quota":           put(&c.Quota, pointer(readInt64)),
		"burst":           put(&c.Burst, pointer(readUint64)),
		"period":          put(&c.Period, pointer(readUint64)),
		"realtimeRuntime": put(&c.RealtimeRuntime, pointer(readInt64)),
		"realtimePeriod":  put(&c.RealtimePeriod, pointer(readUint64)),
		"cpus":            put(&c.Cpus, stringOf()),
		"mems":            put(&c.Mems, stringOf()),
		"idle":            put(&c.Idle, pointer(readInt64)),
	}
}

// readPids always has a limit: version 1.2.1 of the runtime-spec, which the
// output is declared to be, writes one in any case.
func readPids(d *decoder, at where, n *node) specs.LinuxPids {
	p := specs.LinuxPids{Limit: new(int64)}
	d.object(at, n, fields{"limit": put(&p.Limit, pointer(readInt64))})
	return p
}

func blockIOFields(b *specs.LinuxBlockIO) fields {
	throttles := listOf(objectOf(func(t *specs.LinuxThrottleDevice) fields {
		return fields{
			"major": put(&t.Major, readInt64),
			"minor": put(&t.Minor, readInt64),
			"rate":  put(&t.Rate, readUint64),
		}
	}))
	return fields{
		"weight":                  put(&b.Weight, pointer(readUint16)),
		"leafWeight":              put(&b.LeafWeight, pointer(readUint16)),
		"weightDevice":            put(&b.WeightDevice, listOf(objectOf(weightFields))),
		"throttleReadBpsDevice":   put(&b.ThrottleReadBpsDevice, throttles),
		"throttleWriteBpsDevice":  put(&b.ThrottleWriteBpsDevice, throttles),
		"throttleReadIOPSDevice":  put(&b.ThrottleReadIOPSDevice, throttles),
		"throttleWriteIOPSDevice": put(&b.ThrottleWriteIOPSDevice, throttles),
	}
}

func weightFields(w *specs.LinuxWeightDevice) fields {
	return fields{
		"major":      put(&w.Major, readInt64),
		"minor":      put(&w.Minor, readInt64),
		"weight":     put(&w.Weight, pointer(readUint16)),
		"leafWeight": put(&w.LeafWeight, pointer(readUint16)),
	}
}

func hugepageFields(h *specs.LinuxHugepageLimit) fields {
	return fields{
		"pageSize": put(&h.Pagesize, stringOf()),
		"limit":    put(&h.Limit, readUint64),
	}
}

func networkFields(n *specs.LinuxNetwork) fields {
	return fields{
		"classID": put(&n.ClassID, pointer(readUint32)),
		"priorities": put(&n.Priorities, listOf(objectOf(func(p *specs.LinuxInterfacePriority) fields {
			return fields{"name": put(&p.Name, stringOf()), "priority": put(&p.Priority, readUint32)}
		}))),
	}
}
