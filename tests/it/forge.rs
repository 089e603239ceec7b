//! `driftd controller` and a real Gitea: its Git over HTTP and SSH, its branch protection, its pull requests.

mod gitea;
mod killed;
mod people;
mod protection;
mod transport;
mod world;
