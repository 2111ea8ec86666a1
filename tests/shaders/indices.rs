//! Indices into buffers that were themselves read from a buffer. Every other index comes from params and invocations,
//! whose ranges the host has set; these hold whatever somebody wrote, and shaders run without wgpu's checks.

use naga::{AddressSpace, Block, Expression, Function, Handle, LocalVariable, MathFunction, Module, Statement};

/// What a function does with its indices.
struct Reader<'a> {
    module: &'a Module,
    function: &'a Function,
}

/// The storage buffers that the module indexes by what it has read from one, with no `min` in between.
pub fn unheld(module: &Module) -> Vec<String> {
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    let functions = module.functions.iter().map(|(_, function)| function).chain(entries);
    let mut found: Vec<String> = functions.flat_map(|function| Reader { module, function }.unheld()).collect();
    found.sort();
    found.dedup();
    found
}

impl Reader<'_> {
    fn unheld(&self) -> Vec<String> {
        let accesses = self.function.expressions.iter().filter_map(|(_, expression)| match *expression {
            Expression::Access { base, index } => Some((self.buffer(base)?, index)),
            _ => None,
        });
        let unheld = accesses.filter(|&(_, index)| self.was_read(index, &mut Vec::new()));
        unheld.map(|(buffer, _)| buffer).collect()
    }

    /// The name of the storage buffer that a pointer leads into.
    fn buffer(&self, pointer: Handle<Expression>) -> Option<String> {
        match self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.buffer(base),
            Expression::GlobalVariable(variable) => {
                let variable = &self.module.global_variables[variable];
                matches!(variable.space, AddressSpace::Storage { .. })
                    .then(|| variable.name.clone().unwrap_or_default())
            }
            _ => None,
        }
    }

    fn local(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.local(base),
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        }
    }

    /// Whether the value depends on what a storage buffer holds. `min` holds it within what it is compared with.
    fn was_read(&self, value: Handle<Expression>, seen: &mut Vec<Handle<LocalVariable>>) -> bool {
        let mut any = |values: &[Handle<Expression>]| values.iter().any(|&value| self.was_read(value, seen));
        match self.function.expressions[value] {
            Expression::Load { pointer } => {
                if self.buffer(pointer).is_some() {
                    return true;
                }
                let Some(local) = self.local(pointer).filter(|local| !seen.contains(local)) else { return false };
                seen.push(local);
                let mut stored = Vec::new();
                self.stores(&self.function.body, local, &mut stored);
                stored.into_iter().any(|value| self.was_read(value, seen))
            }
            Expression::Math { fun: MathFunction::Min, .. } => false,
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                any(&[Some(arg), arg1, arg2, arg3].into_iter().flatten().collect::<Vec<_>>())
            }
            Expression::Binary { left, right, .. } => any(&[left, right]),
            Expression::Select { condition, accept, reject } => any(&[condition, accept, reject]),
            Expression::As { expr, .. } | Expression::Unary { expr, .. } => any(&[expr]),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => any(&[base]),
            Expression::Splat { value, .. } => any(&[value]),
            Expression::Swizzle { vector, .. } => any(&[vector]),
            Expression::Compose { ref components, .. } => any(components),
            _ => false,
        }
    }

    /// Every value that the block stores into the variable.
    fn stores(&self, block: &Block, local: Handle<LocalVariable>, stored: &mut Vec<Handle<Expression>>) {
        for statement in block.iter() {
            match statement {
                Statement::Store { pointer, value } if self.local(*pointer) == Some(local) => stored.push(*value),
                Statement::Block(inner) => self.stores(inner, local, stored),
                Statement::If { accept, reject, .. } => {
                    [accept, reject].into_iter().for_each(|inner| self.stores(inner, local, stored));
                }
                Statement::Loop { body, continuing, .. } => {
                    [body, continuing].into_iter().for_each(|inner| self.stores(inner, local, stored));
                }
                Statement::Switch { cases, .. } => {
                    cases.iter().for_each(|case| self.stores(&case.body, local, stored));
                }
                _ => {}
            }
        }
    }
}
