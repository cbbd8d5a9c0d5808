package accounts

// locked is no result of crypt(3); systemd-sysusers(8) writes it as well, to both shadow files.
const locked = "!*"

// mergeShadow adds a locked line for every new user. A line of the host that
// has no user yet, left by a deletion by hand, must not become the password
// of a vendor's account: it is locked as by usermod -L, which loses nothing.
func (m *merger) mergeShadow() {
	m.merge(rules{
		file: shadow, add: m.missing(shadow, m.users),
		orphans: true, both: func(e three) []string {
			if out := pad(e.host, len(e.host)); m.lockOrphan(e, out, m.users) {
				return out
			}
			return nil
		},
		fresh: func(name string, theirs []string) []string {
			if theirs == nil {
				return pad([]string{name, locked}, 9)
			}
			out := pad(theirs, 9)
			if lockable(out[passwordField]) {
				out[passwordField] = locked
				m.report(Change{File: shadow, Name: name, Op: Skip, Why: "the image's password is left out, the account is locked"})
			}
			return out
		},
	})
}

// missing are the new names that need a line in a shadow file.
func (m *merger) missing(file string, names newNames) []string {
	if m.placeholder(file) != "x" {
		return nil
	}
	var out []string
	for _, name := range names.order {
		if m.dbs[host][file].get(name) == nil {
			out = append(out, name)
		}
	}
	return out
}

// lockable reports a password with which, or without which, somebody can log
// in. What starts with "!" or "*" is locked.
func lockable(password string) bool {
	return password == "" || password[0] != '!' && password[0] != '*'
}

// lockOrphan locks a line of the host whose name is new to the host. It
// reports whether it had to.
func (m *merger) lockOrphan(e three, out []string, names newNames) bool {
	if !names.known[e.host[0]] || !lockable(out[passwordField]) || e.file == gshadow && out[passwordField] == "" {
		return false
	}
	out[passwordField] = "!" + out[passwordField]
	m.report(Change{
		File: e.file, Name: e.host[0], Op: Keep, Conflict: true,
		Why: "a line of the host without an account, whose name the vendor's gets: kept, locked",
	})
	return true
}

// mergeGroupShadow keeps gshadow in step with group: the same members, by the
// same rules.
func (m *merger) mergeGroupShadow() {
	m.merge(rules{
		file: gshadow, add: m.missing(gshadow, m.groups),
		orphans: true, both: func(e three) []string {
			out := pad(e.host, 4)
			m.lockOrphan(e, out, m.groups)
			if e.image == nil {
				return trim(out, e.host)
			}
			e.mergeList(out, adminsField, "administrators", m.users.restored)
			e.mergeList(out, membersField, "members", m.users.restored)
			m.reportFields(e)
			return trim(out, e.host)
		},
		fresh: func(name string, theirs []string) []string {
			if theirs == nil {
				members := field(m.dbs[image][group].get(name), membersField)
				return []string{name, locked, "", members}
			}
			out := pad(theirs, 4)
			// Empty is no password here: only members may newgrp(1).
			if p := out[passwordField]; p != "" && lockable(p) {
				out[passwordField] = locked
				m.report(Change{File: gshadow, Name: name, Op: Skip, Why: "the image's password is left out, the group is locked"})
			}
			return out
		},
	})
}
