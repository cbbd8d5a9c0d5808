package lvm

// Path is where udev puts the device of a volume while it is active. It is
// for a volume that was made a moment ago; that of any other is in the report.
func Path(vg, lv string) string { return "/dev/" + vg + "/" + lv }
