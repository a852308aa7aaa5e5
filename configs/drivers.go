package configs

import _ "embed"

// DriverTable is what a complete kernel drives (kernel/drivers.ReadTable):
// made by scripts/drivertable, which says from what.
//
//go:embed drivers.tsv.gz
var DriverTable []byte
