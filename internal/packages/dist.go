package packages

import "embed"

// Dist are the pieces that make dnf and apt tell what the administrator
// installed and removed, at their paths in a system but for the first
// element, "dist":
//
//   - usr/lib/python3/site-packages/dnf-plugins/imgbase_persist.py and
//     etc/dnf/plugins/imgbase_persist.conf, where the interpreter's own
//     site-packages directory takes the place of usr/lib/python3/site-packages
//   - etc/apt/apt.conf.d/80imgbase and usr/lib/imgbased/apt-persist, which
//     has to be executable
//
// They call "imgbase pkg --persist FILE..." and "imgbase pkg --forget
// NAME...", and never make a transaction fail.
//
//go:embed dist
var Dist embed.FS
