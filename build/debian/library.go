package debian

import "strings"

// oddLibraries are those whose package is not named after them.
var oddLibraries = map[string]string{
	"libc.so.6": "libc6", "libm.so.6": "libc6", "libmvec.so.1": "libc6", "libdl.so.2": "libc6",
	"libpthread.so.0": "libc6", "librt.so.1": "libc6", "libresolv.so.2": "libc6", "libutil.so.1": "libc6",
	"libnsl.so.1": "libc6", "libanl.so.1": "libc6", "libthread_db.so.1": "libc6", "libnss_compat.so.2": "libc6",
	"ld-linux-x86-64.so.2": "libc6", "ld-linux-aarch64.so.1": "libc6",
	"libz.so.1": "zlib1g", "libnetsnmp.so.40": "libsnmp40t64",
}

// LibraryPackage returns the package of the repository that has a shared
// library, judged by Debian's naming rule (Policy 8.1): libfoo.so.1 is in
// libfoo1, libfoo-2.so.1 in libfoo-2-1, with t64 behind it where the package
// was rebuilt for 64-bit time. It is for error messages: a guess that is
// checked against the repository's names, "" if nothing fits.
func (x *Index) LibraryPackage(soname string) string {
	if name, ok := oddLibraries[soname]; ok && x.has(name) {
		return name
	}
	base, ver, found := strings.Cut(strings.ToLower(soname), ".so.")
	base = strings.ReplaceAll(base, "_", "-")
	if !found || len(base) < 4 || strings.Contains(soname, "\n") {
		return ""
	}
	if last := base[len(base)-1]; last >= '0' && last <= '9' {
		base += "-"
	}
	for _, name := range []string{base + ver, base + ver + "t64"} {
		if x.has(name) {
			return name
		}
	}
	if near := x.startingWith(strings.TrimSuffix(base, "-")+ver, 1); len(near) > 0 {
		return near[0]
	}
	return ""
}
