//! What becomes of a commit of ours on a real repository in trouble: whoever pushes at the same time, whatever its server does. The
//! [`Repository`](driftd::gitops::git::Repository) of the library, the `git` of this machine, `git http-backend`.

mod outages;
mod races;
mod refusals;
mod signatures;
mod world;
