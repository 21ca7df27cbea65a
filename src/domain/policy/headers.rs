//! All headers of a call, as a map whose missing entries read as an empty string.

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as ValIterator, Sizer};
use cel::common::types::{CelInt, CelString, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};

use super::known::Facts;

/// Names and values, in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct AllHeaders<'a>(Vec<(CelString<'a>, CelString<'a>)>);

impl<'a> AllHeaders<'a> {
    pub(super) fn of(facts: &Facts<'a>) -> Self {
        Self(facts.header_names().map(|name| (name.into(), facts.header(name).into())).collect())
    }

    fn value(&self, name: &str) -> Option<&CelString<'a>> {
        self.0.iter().find(|(known, _)| known.inner() == name).map(|(_, value)| value)
    }
}

fn name_of(index: &dyn Val) -> Result<String, ExecutionError> {
    match index.downcast_ref::<CelString<'_>>() {
        Some(name) => Ok(name.inner().to_owned()),
        None => {
            Err(ExecutionError::UnexpectedType { got: index.get_type().name().to_owned(), want: "string".to_owned() })
        }
    }
}

impl Val for AllHeaders<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for AllHeaders<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.value(&name_of(value)?).is_some())
    }
}

impl Indexer for AllHeaders<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match self.value(&name_of(index)?) {
            Some(value) => Ok(CowVal::Borrowed(value)),
            None => Ok(CowVal::owned(CelString::from(""))),
        }
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Sizer for AllHeaders<'_> {
    fn size(&self) -> CelInt {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX).into()
    }
}

impl Iterable for AllHeaders<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn ValIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Names(self.0.iter()))
    }
}

struct Names<'b, 'a>(std::slice::Iter<'b, (CelString<'a>, CelString<'a>)>);

impl<'b, 'v, 'a: 'v> ValIterator<'b, 'v> for Names<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|(name, _)| name as &'b (dyn Val + 'v))
    }
}
