//! Kinds: what a part of a condition is, as far as that is known before any call.

use cel::common::ast::LiteralValue;

/// What a value is, in CEL's own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It shows only when a call is there.
    Any,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Duration,
    Null,
    Type,
    /// A list, and what its items are.
    List(&'static Kind),
    /// A map from texts, and what its values are.
    Map(&'static Kind),
}

impl Kind {
    pub(super) fn of_literal(literal: &LiteralValue) -> Self {
        match literal {
            LiteralValue::Boolean(_) => Self::Bool,
            LiteralValue::Bytes(_) => Self::Bytes,
            LiteralValue::Double(_) => Self::Double,
            LiteralValue::Int(_) => Self::Int,
            LiteralValue::Null => Self::Null,
            LiteralValue::String(_) => Self::Text,
            LiteralValue::UInt(_) => Self::Uint,
        }
    }

    /// The same as what a list or map holds; of those within those, nothing is known.
    pub(super) fn as_item(self) -> &'static Self {
        match self {
            Self::Bool => &Self::Bool,
            Self::Int => &Self::Int,
            Self::Uint => &Self::Uint,
            Self::Double => &Self::Double,
            Self::Text => &Self::Text,
            Self::Bytes => &Self::Bytes,
            Self::Time => &Self::Time,
            Self::Duration => &Self::Duration,
            Self::Null => &Self::Null,
            Self::Type => &Self::Type,
            Self::Any | Self::List(_) | Self::Map(_) => &Self::Any,
        }
    }

    /// CEL's word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Any => "dyn",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Time => "timestamp",
            Self::Duration => "duration",
            Self::Null => "null",
            Self::Type => "type",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// The same with its article.
    pub(super) fn one(self) -> String {
        let article = if matches!(self, Self::Int) { "an" } else { "a" };
        format!("{article} {}", self.as_str())
    }

    /// Whether one may stand where the other is expected.
    pub(super) fn fits(self, expected: Self) -> bool {
        match (self, expected) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(item), Self::List(other)) | (Self::Map(item), Self::Map(other)) => item.fits(*other),
            (one, other) => one == other,
        }
    }

    /// What both are; `Any` if they differ.
    pub(super) fn joined(self, other: Self) -> Self {
        if self == other { self } else { Self::Any }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether `==` between the two can ever hold.
    pub(super) fn can_equal(self, other: Self) -> bool {
        self.fits(other) || (self.is_number() && other.is_number())
    }

    /// Whether `<` and the like are defined between the two.
    pub(super) fn can_order(self, other: Self) -> bool {
        let ordered = |kind| !matches!(kind, Self::Null | Self::Type | Self::List(_) | Self::Map(_));
        ordered(self) && ordered(other) && self.can_equal(other)
    }

    /// What `self operator other` is, for CEL's arithmetic; `None` where that is not defined.
    pub(super) fn computed(self, operator: char, other: Self) -> Option<Self> {
        use Kind::{Any, Bytes, Double, Duration, Int, List, Text, Time, Uint};
        match (self, operator, other) {
            (Any, _, _) | (_, _, Any) => Some(Any),
            (Int, _, Int) => Some(Int),
            (Uint, _, Uint) => Some(Uint),
            (Double, '+' | '-' | '*' | '/', Double) => Some(Double),
            (Text, '+', Text) => Some(Text),
            (Bytes, '+', Bytes) => Some(Bytes),
            (List(one), '+', List(other)) => Some(List(one.joined(*other).as_item())),
            (Time, '+', Duration) | (Duration, '+', Time) | (Time, '-', Duration) => Some(Time),
            (Duration, '+' | '-', Duration) | (Time, '-', Time) => Some(Duration),
            _ => None,
        }
    }
}
