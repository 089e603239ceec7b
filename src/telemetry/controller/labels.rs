//! Label values.

/// An enum whose variants are the values of one label.
macro_rules! label_values {
    ($(#[$meta:meta])* $name:ident { $($(#[$of_value:meta])* $value:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of_value])* $value),* }

        impl $name {
            /// Every one, so that each series exists from the start.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$value),*];

            /// The label value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }

            /// The one with this label value.
            pub fn from_label(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.as_str() == text)
            }
        }
    };
}

label_values! {
    /// What became of a delivery of alerts.
    AlertOutcome {
        /// In the journal, and new.
        Accepted = "accepted",
        /// In the journal, and known.
        Duplicate = "duplicate",
        /// Not what Alertmanager or Grafana sends.
        Malformed = "malformed",
        /// Without the token.
        Unauthorized = "unauthorized",
        /// Longer than a delivery may be.
        TooLarge = "too_large",
        /// Not the leader, or the journal cannot be written: sent again later.
        Unavailable = "unavailable",
    }
}

label_values! {
    /// Where an open incident is.
    OpenState {
        /// Journaled, nothing looked at yet.
        Received = "received",
        /// Asking Prometheus.
        Confirming = "confirming",
        /// Finding the line and the version to put back.
        Resolving = "resolving",
        /// Asking the gates.
        Gating = "gating",
        /// Waiting for a person.
        AwaitingApproval = "awaiting_approval",
        /// Building and pushing the commit.
        Committing = "committing",
        /// Waiting for a pull request to be merged.
        PrOpen = "pr_open",
        /// On the branch.
        Pushed = "pushed",
        /// Waiting for Argo CD.
        Syncing = "syncing",
        /// Waiting for pods.
        Serving = "serving",
        /// Watching whether it has helped.
        Observing = "observing",
        /// The second commit of a canary.
        Cleaning = "cleaning",
    }
}

label_values! {
    /// How an incident ended.
    IncidentOutcome {
        /// It helped.
        Recovered = "recovered",
        /// It did not help.
        NotRecovered = "not_recovered",
        /// Nobody can say whether it helped.
        Inconclusive = "inconclusive",
        /// Not done, for a reason.
        Suppressed = "suppressed",
        /// Somebody else was first.
        Superseded = "superseded",
        /// A person has to look.
        NeedsHuman = "needs_human",
        /// Written down only.
        DryRunDone = "dry_run_done",
        /// Closed by a person.
        Closed = "closed",
    }
}

label_values! {
    /// A part of a rollback.
    Stage {
        /// Is it so?
        Confirm = "confirm",
        /// What is to be done, and may it be?
        Plan = "plan",
        /// Building the commit.
        Commit = "commit",
        /// Getting it onto the branch.
        Push = "push",
        /// Until Argo CD has applied it.
        Sync = "sync",
        /// Until the good version serves.
        Serve = "serve",
        /// Until it is proved that it helped.
        Verify = "verify",
    }
}

label_values! {
    /// How a push ended.
    PushResult {
        /// On the branch.
        Ok = "ok",
        /// Another commit was first.
        Race = "race",
        /// The remote's rules forbid it.
        Rejected = "rejected",
        /// The remote cannot be reached, or breaks off.
        Failed = "failed",
    }
}

label_values! {
    /// How asking Argo CD for a refresh ended.
    RefreshResult {
        /// It has looked.
        Ok = "ok",
        /// It has not looked in time.
        Timeout = "timeout",
        /// It refuses: token, rights, no such application.
        Refused = "refused",
        /// It cannot be reached.
        Failed = "failed",
    }
}
