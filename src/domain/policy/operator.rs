//! The operators of conditions: between which kinds they are defined, and what they give.

use cel::common::ast::operators;

use super::kind::Kind;

/// What an operator gives; `None` if this is none.
pub(super) fn given(name: &str, kinds: &[Kind]) -> Option<Result<Kind, String>> {
    let sign = |name: &'static str| name.trim_matches('_');
    let between = |kinds: &[Kind], sign: &str| match kinds {
        [left, right] => format!("`{sign}` is not defined between {} and {}", left.one(), right.one()),
        _ => format!("`{sign}` has another number of sides"),
    };
    let when = |holds: bool, sign: &str| if holds { Ok(Kind::Bool) } else { Err(between(kinds, sign)) };
    let given = match (name, kinds) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
            let sign = if name == operators::LOGICAL_AND { "&&" } else { "||" };
            when(left.fits(Kind::Bool) && right.fits(Kind::Bool), sign)
        }
        (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [kind]) => match kind.fits(Kind::Bool) {
            true => Ok(Kind::Bool),
            false => Err(format!("`!` is not defined for {}", kind.one())),
        },
        (operators::NEGATE, [kind]) => match kind {
            Kind::Any | Kind::Int | Kind::Double => Ok(*kind),
            other => Err(format!("`-` is not defined for {}", other.one())),
        },
        (operators::CONDITIONAL, [condition, one, other]) => match condition.fits(Kind::Bool) {
            true => Ok(one.joined(*other)),
            false => Err(format!("`? :` asks for a condition; found {}", condition.one())),
        },
        (operators::EQUALS, [left, right]) => when(left.can_equal(*right), "=="),
        (operators::NOT_EQUALS, [left, right]) => when(left.can_equal(*right), "!="),
        (operators::LESS, [left, right]) => when(left.can_order(*right), "<"),
        (operators::LESS_EQUALS, [left, right]) => when(left.can_order(*right), "<="),
        (operators::GREATER, [left, right]) => when(left.can_order(*right), ">"),
        (operators::GREATER_EQUALS, [left, right]) => when(left.can_order(*right), ">="),
        (operators::IN, [item, list]) => match list {
            Kind::List(held) if item.can_equal(**held) => Ok(Kind::Bool),
            Kind::Map(_) if item.fits(Kind::Text) => Ok(Kind::Bool),
            Kind::Any => Ok(Kind::Bool),
            _ => Err(between(kinds, "in")),
        },
        (operators::INDEX, [container, index]) => match container {
            Kind::List(held) if index.fits(Kind::Int) => Ok(**held),
            Kind::Map(held) if index.fits(Kind::Text) => Ok(**held),
            Kind::Any => Ok(Kind::Any),
            _ => Err(format!("{} is not read by {}", container.one(), index.one())),
        },
        _ => {
            let computed = [
                (operators::ADD, '+'),
                (operators::SUBSTRACT, '-'),
                (operators::MULTIPLY, '*'),
                (operators::DIVIDE, '/'),
                (operators::MODULO, '%'),
            ];
            let (known, character) = computed.into_iter().find(|(known, _)| *known == name)?;
            match kinds {
                [left, right] => left.computed(character, *right).ok_or_else(|| between(kinds, sign(known))),
                _ => Err(between(kinds, sign(known))),
            }
        }
    };
    Some(given)
}
