//! What the objects of a pickle stand for: dictionaries, storages and tensors, and the names the latter are found under.

use super::{Found, Id, MAX_VALUES, Machine, Result, Storage, TOO_MANY, Tensor, Value};

/// Tensors, numbers and texts taken from a pickle.
const MAX_FOUND: usize = 50_000;
/// Bytes of a name.
const MAX_NAME: usize = 1024;
/// Dictionaries in dictionaries.
const MAX_DEPTH: usize = 4;
/// Dimensions of a tensor.
const MAX_RANK: usize = 8;
const NO_TENSOR: &str = "a tensor that is not described as torch.save does";

impl<'a> Machine<'a> {
    /// What a call would give.
    pub(super) fn construct(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let arguments: &[Id] = match self.value(arguments) {
            Value::Tuple(items) => items,
            _ => &[],
        };
        let callable = match *self.value(callable) {
            Value::Global(module, name) => (module, name),
            _ => ("", ""),
        };
        let value = match callable {
            // What `Parameter` and tensor subclasses wrap around a tensor.
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                let Some(&wrapped) = arguments.first() else { return Err(NO_TENSOR.into()) };
                return self.push(wrapped);
            }
            ("torch._tensor", "_rebuild_from_type_v2") => {
                let (Some(&inner), Some(&arguments)) = (arguments.first(), arguments.get(2)) else {
                    return Err(NO_TENSOR.into());
                };
                let rebuild = ("torch._utils", "_rebuild_tensor_v2");
                let plain = matches!(*self.value(inner), Value::Global(module, name) if (module, name) == rebuild);
                match self.value(arguments) {
                    Value::Tuple(arguments) if plain => self.tensor(arguments)?,
                    _ => Value::Other,
                }
            }
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => self.tensor(arguments)?,
            // An object of any class; ordered dictionaries are one.
            _ => Value::Dict(Vec::new()),
        };
        self.make(value)
    }

    /// Attributes, where they are entries of a dictionary, count as the entries of their object.
    pub(super) fn build(&mut self, state: Id) -> Result<()> {
        let top = self.top()?;
        let entries = match self.value(state) {
            Value::Dict(entries) if state != top => entries.clone(),
            // Attributes, and others in slots.
            Value::Tuple(both) => match both.first().map(|&id| self.value(id)) {
                Some(Value::Dict(entries)) => entries.clone(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.copied += entries.len();
        if self.copied > MAX_VALUES {
            return Err(TOO_MANY.into());
        }
        if let Value::Dict(dict) = &mut self.values[top as usize] {
            dict.extend(entries);
        }
        Ok(())
    }

    /// `("storage", type, key, device, numbers)`.
    pub(super) fn storage(&self, id: Id) -> Option<Storage<'a>> {
        let Value::Tuple(parts) = self.value(id) else { return None };
        let part = |i: usize| parts.get(i).map(|&id| self.value(id));
        match (part(0)?, part(1)?, part(2)?, part(4)?) {
            (Value::Text("storage"), &Value::Global(_, type_name), &Value::Text(key), &Value::Int(len)) => {
                Some(Storage { type_name, key, len: usize::try_from(len).ok()? })
            }
            _ => None,
        }
    }

    /// `(storage, offset, shape, strides, ...)`.
    fn tensor(&self, arguments: &[Id]) -> Result<Value<'a>> {
        let &[storage, offset, shape, strides, ..] = arguments else { return Err(NO_TENSOR.into()) };
        let (&Value::Storage(storage), Some(offset)) = (self.value(storage), self.size(offset)) else {
            return Err(NO_TENSOR.into());
        };
        let (shape, strides) = (self.sizes(shape).ok_or(NO_TENSOR)?, self.sizes(strides).ok_or(NO_TENSOR)?);
        if shape.len() != strides.len() {
            return Err(NO_TENSOR.into());
        }
        Ok(Value::Tensor(Box::new(Tensor { storage, offset, shape, strides })))
    }

    fn size(&self, id: Id) -> Option<usize> {
        match *self.value(id) {
            Value::Int(size) => usize::try_from(size).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match self.value(id) {
            Value::Tuple(sizes) | Value::List(sizes) if sizes.len() <= MAX_RANK => {
                sizes.iter().map(|&id| self.size(id)).collect()
            }
            _ => None,
        }
    }

    pub(super) fn collect(&self, root: Id) -> Result<Vec<(String, Found<'a>)>> {
        let Value::Dict(entries) = self.value(root) else {
            return Err("it holds no dictionary of tensors".into());
        };
        let mut found = Vec::new();
        for &(key, value) in entries {
            let &Value::Text(name) = self.value(key) else { continue };
            match *self.value(value) {
                Value::Int(number) => found.push((name.to_owned(), Found::Number(number))),
                Value::Text(text) => found.push((name.to_owned(), Found::Text(text))),
                _ => {}
            }
        }
        let below = |name| {
            let found =
                entries.iter().rev().find(|(key, _)| matches!(*self.value(*key), Value::Text(key) if key == name));
            found.map(|(_, value)| *value)
        };
        let has_tensors = entries.iter().any(|(_, value)| matches!(self.value(*value), Value::Tensor(_)));
        let model = || below("model").filter(|value| !has_tensors && matches!(self.value(*value), Value::Dict(_)));
        let root = below("state_dict").or_else(model).unwrap_or(root);
        let mut visits = 0;
        // Dictionaries still to look through: depth, name, value.
        let mut open = vec![(0, String::new(), root)];
        while let Some((depth, prefix, id)) = open.pop() {
            let Value::Dict(entries) = self.value(id) else { continue };
            for &(key, value) in entries {
                visits += 1;
                if visits > MAX_VALUES {
                    return Err(TOO_MANY.into());
                }
                let &Value::Text(key) = self.value(key) else { continue };
                match self.value(value) {
                    Value::Tensor(_) => {}
                    Value::Dict(_) if depth < MAX_DEPTH => {}
                    _ => continue,
                }
                if found.len() + open.len() >= MAX_FOUND || prefix.len() + key.len() > MAX_NAME {
                    return Err(TOO_MANY.into());
                }
                let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
                match self.value(value) {
                    Value::Tensor(tensor) => found.push((name, Found::Tensor((**tensor).clone()))),
                    _ => open.push((depth + 1, name, value)),
                }
            }
        }
        Ok(found)
    }
}
