//! What a connection does all its life.

use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends messages and checks their echoes.
    Echo,
    /// Sends messages; a receipt comes with the server's Close.
    OneWay,
    /// Checks what the backend pushes.
    Push,
    /// Is pushed to like the others, but reads little.
    Slow,
    Idle,
    /// Connects, echoes once, closes, and begins again.
    Churn,
}

impl Role {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::OneWay => "one-way",
            Self::Push => "push",
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::Churn => "churn",
        }
    }

    /// Messages of the load are sent on it.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::Echo | Self::OneWay)
    }

    /// The backend pushes to it.
    pub(crate) fn is_pushed_to(self) -> bool {
        matches!(self, Self::Push | Self::Slow)
    }
}

const ROLES: [Role; 6] = [
    Role::Echo,
    Role::OneWay,
    Role::Push,
    Role::Slow,
    Role::Idle,
    Role::Churn,
];

/// Parts of the connections by role, at least one of them above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(Role, u32)>);

impl Mix {
    pub(crate) fn only(role: Role) -> Self {
        Self(vec![(role, 1)])
    }

    pub(crate) fn new(parts: Vec<(Role, u32)>) -> Self {
        Self(parts)
    }

    /// The roles of `count` connections, evenly interleaved: each goes to whoever is furthest behind its part.
    pub(crate) fn deal(&self, count: usize) -> Vec<Role> {
        let mut dealt = vec![0_u64; self.0.len()];
        let mut roles = Vec::with_capacity(count);
        for _ in 0..count {
            let next = self
                .0
                .iter()
                .zip(&mut dealt)
                .filter(|((_, part), _)| *part > 0)
                .min_by(|((_, part), dealt), ((_, other_part), other_dealt)| {
                    let (left, right) = (
                        (**dealt + 1) * u64::from(*other_part),
                        (**other_dealt + 1) * u64::from(*part),
                    );
                    left.cmp(&right)
                });
            let Some(((role, _), dealt)) = next else {
                break;
            };
            *dealt += 1;
            roles.push(*role);
        }
        roles
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(|part| {
            let (name, parts) = part.split_once('=')?;
            let role = ROLES.into_iter().find(|role| role.label() == name)?;
            // Low enough that a product with a count of connections fits.
            Some((
                role,
                parts.parse().ok().filter(|parts| *parts <= 1_000_000)?,
            ))
        });
        parts
            .collect::<Option<Vec<_>>>()
            .filter(|parts| parts.iter().any(|(_, part)| *part > 0))
            .map(Self)
            .ok_or_else(|| "parts as echo=60,one-way=5,push=20,slow=1,idle=10,churn=4".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_dealt_by_their_parts_and_interleaved() {
        let mix: Mix = "echo=2,push=1,idle=0".parse().unwrap();
        use Role::{Echo, Push};
        assert_eq!(mix.deal(7), [Echo, Echo, Push, Echo, Echo, Push, Echo]);
        assert_eq!(Mix::only(Role::Idle).deal(2), [Role::Idle, Role::Idle]);
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for text in ["", "echo", "echo=x", "echo=0", "walk=1", "echo=1,"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
