//! Finds barriers that not every invocation of a workgroup may reach.
//!
//! naga accepts them, browsers reject them, and a GPU may hang on them. This is a taint analysis over naga's IR. An
//! expression *varies* if it may differ between the invocations of a workgroup:
//!
//! - sources: every argument of an entry point but workgroup_id and num_workgroups, and whatever is loaded from
//!   storage, workgroup or private memory (WGSL would let read-only storage pass; no kernel needs that);
//! - uniform buffers, constants and literals do not vary;
//! - an operation varies if an operand does, a call if an argument does or if the function returns what varies;
//! - a local variable varies if what is stored into it does, or if the store itself is in divergent control flow.
//!
//! Control flow is *divergent* below an `if`, `switch` or loop whose condition varies, after a divergent `return` (to
//! the end of the function), and throughout a loop that has a divergent `break` or `return`. A barrier in divergent
//! control flow is reported, and so is a subgroup operation. The rules follow WGSL's uniformity analysis and are
//! stricter where that keeps them short.

use std::collections::{BTreeSet, HashSet};

use naga::{AddressSpace, Binding, Block, BuiltIn, EntryPoint, Expression, Handle, LocalVariable, Module, Statement};

/// One line a barrier of the entry point that stands in divergent control flow; none is good.
pub fn divergent_barriers(module: &Module, entry: &EntryPoint, source: &str) -> BTreeSet<String> {
    let varies = |argument: &naga::FunctionArgument| {
        !matches!(argument.binding, Some(Binding::BuiltIn(BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups)))
    };
    let arguments = entry.function.arguments.iter().map(varies).collect();
    analyse(module, source, &entry.function, arguments, false).findings
}

/// What a function does with these arguments, called in this control flow.
fn analyse<'a>(
    module: &'a Module,
    source: &'a str,
    function: &'a naga::Function,
    arguments: Vec<bool>,
    divergent: bool,
) -> Analysis<'a> {
    let mut analysis = Analysis {
        module,
        source,
        function,
        arguments,
        locals: HashSet::new(),
        results: HashSet::new(),
        returns: false,
        findings: BTreeSet::new(),
    };
    // Loops carry taint backwards, so the walk repeats until nothing new varies.
    loop {
        let known = (analysis.locals.len(), analysis.results.len());
        analysis.findings.clear();
        analysis.walk(&function.body, divergent);
        if (analysis.locals.len(), analysis.results.len()) == known {
            return analysis;
        }
    }
}

struct Analysis<'a> {
    module: &'a Module,
    source: &'a str,
    function: &'a naga::Function,
    /// Which arguments vary.
    arguments: Vec<bool>,
    /// Local variables that vary.
    locals: HashSet<Handle<LocalVariable>>,
    /// Call results that vary.
    results: HashSet<Handle<Expression>>,
    /// The function's own result varies.
    returns: bool,
    findings: BTreeSet<String>,
}

/// Ways that some invocations, but perhaps not all, have left a block.
#[derive(Clone, Copy, Default)]
struct Exits {
    breaks: bool,
    continues: bool,
    returns: bool,
}

impl Exits {
    fn any(self) -> bool {
        self.breaks || self.continues || self.returns
    }

    fn add(&mut self, other: Exits) {
        self.breaks |= other.breaks;
        self.continues |= other.continues;
        self.returns |= other.returns;
    }
}

impl Analysis<'_> {
    fn walk(&mut self, block: &Block, divergent: bool) -> Exits {
        let mut exits = Exits::default();
        for (statement, span) in block.span_iter() {
            let divergent = divergent || exits.any();
            let line = span.location(self.source).line_number;
            match statement {
                Statement::Emit(_) | Statement::MemoryBarrier(_) => {}
                Statement::Block(block) => exits.add(self.walk(block, divergent)),
                Statement::If { condition, accept, reject } => {
                    let inside = divergent || self.varies(*condition);
                    exits.add(self.walk(accept, inside));
                    exits.add(self.walk(reject, inside));
                }
                Statement::Switch { selector, cases } => {
                    let inside = divergent || self.varies(*selector);
                    for case in cases {
                        let exit = self.walk(&case.body, inside);
                        // A break leaves the switch alone.
                        exits.add(Exits { breaks: false, ..exit });
                    }
                }
                Statement::Loop { body, continuing, break_if } => {
                    let exit = self.walk_loop(body, continuing, *break_if, divergent);
                    exits.returns |= exit.returns;
                }
                Statement::Break => exits.breaks |= divergent,
                Statement::Continue => exits.continues |= divergent,
                Statement::Return { value } => {
                    exits.returns |= divergent;
                    self.returns |= divergent || value.is_some_and(|v| self.varies(v));
                }
                Statement::Store { pointer, value } => {
                    if divergent || self.varies(*value) || self.varies(*pointer) {
                        self.locals.extend(self.local(*pointer));
                    }
                }
                Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => {
                    if divergent {
                        self.findings.insert(format!("line {line}: a barrier in divergent control flow"));
                    }
                }
                Statement::SubgroupCollectiveOperation { .. } | Statement::SubgroupGather { .. } => {
                    if divergent {
                        self.findings.insert(format!("line {line}: a subgroup operation in divergent control flow"));
                    }
                }
                Statement::Call { function, arguments, result } => {
                    let function = &self.module.functions[*function];
                    let varying = arguments.iter().map(|a| self.varies(*a)).collect();
                    let callee = analyse(self.module, self.source, function, varying, divergent);
                    self.findings.extend(callee.findings);
                    if callee.returns || arguments.iter().any(|a| self.varies(*a)) {
                        self.results.extend(*result);
                    }
                    // The callee may store through a pointer it is given.
                    let lent: Vec<_> = arguments.iter().filter_map(|a| self.local(*a)).collect();
                    self.locals.extend(lent);
                }
                other => {
                    self.findings.insert(format!("line {line}: this analysis does not know {other:?}"));
                }
            }
        }
        exits
    }

    fn walk_loop(
        &mut self,
        body: &Block,
        continuing: &Block,
        break_if: Option<Handle<Expression>>,
        divergent: bool,
    ) -> Exits {
        let mut exits = self.walk(body, divergent);
        // `continue` meets the others again here.
        exits.add(self.walk(continuing, divergent || exits.breaks || exits.returns));
        exits.breaks |= break_if.is_some_and(|condition| self.varies(condition));
        if (exits.breaks || exits.returns) && !divergent {
            // From the second turn on, some invocations may have left.
            return self.walk_loop(body, continuing, break_if, true);
        }
        exits
    }

    /// Whether the value, or what the pointer points to, may differ between the invocations of a workgroup.
    fn varies(&self, expression: Handle<Expression>) -> bool {
        use Expression as E;
        let varies = |e: &Handle<Expression>| self.varies(*e);
        match &self.function.expressions[expression] {
            E::Literal(_) | E::Constant(_) | E::Override(_) | E::ZeroValue(_) | E::ArrayLength(_) => false,
            E::WorkGroupUniformLoadResult { .. } => false,
            E::FunctionArgument(index) => self.arguments[*index as usize],
            E::GlobalVariable(variable) => self.module.global_variables[*variable].space != AddressSpace::Uniform,
            E::LocalVariable(variable) => self.locals.contains(variable),
            E::CallResult(_) => self.results.contains(&expression),
            E::Load { pointer: value } | E::AccessIndex { base: value, .. } => varies(value),
            E::Splat { value, .. } | E::Swizzle { vector: value, .. } => varies(value),
            E::Unary { expr, .. } | E::As { expr, .. } | E::Relational { argument: expr, .. } => varies(expr),
            E::Compose { components, .. } => components.iter().any(varies),
            E::Access { base: a, index: b } | E::Binary { left: a, right: b, .. } => varies(a) || varies(b),
            E::Select { condition, accept, reject } => [condition, accept, reject].into_iter().any(varies),
            E::Math { arg, arg1, arg2, arg3, .. } => {
                varies(arg) || [arg1, arg2, arg3].into_iter().flatten().any(varies)
            }
            _ => true,
        }
    }

    /// The local variable that a pointer points into.
    fn local(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match self.function.expressions[pointer] {
            Expression::LocalVariable(variable) => Some(variable),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.local(base),
            _ => None,
        }
    }
}

/// Statements of an entry point with a barrier that every invocation reaches.
const GOOD: &[&str] = &[
    "workgroupBarrier();",
    "for (var i = 0u; i < params.N; i++) { workgroupBarrier(); }",
    "if group.x < params.N { workgroupBarrier(); }",
    // Divergent, but over before the barrier.
    "if index < params.N { shares[index] = 0.0; } workgroupBarrier();",
    "for (var i = index; i < params.N; i += 64u) { if i == 7u { break; } } workgroupBarrier();",
    "for (var i = 0u; i < 8u; i++) { if index == i { continue; } shares[i] = 0.0; } workgroupBarrier();",
    "for (var w = 32u; w > 0u; w /= 2u) { if index < w { shares[index] += shares[index + w]; } workgroupBarrier(); }",
    "shares[index] = subgroupAdd(f32(index)); workgroupBarrier();",
    "shares[index] = subgroupBroadcast(f32(index), 0u); workgroupBarrier();",
    // All leave together.
    "if params.N == 0u { return; } workgroupBarrier();",
    "returns_early(index); workgroupBarrier();",
    "if doubled(group.x) > 7u { workgroupBarrier(); }",
    "switch params.N { case 1u: { workgroupBarrier(); } default: { } }",
    "let n = workgroupUniformLoad(&count); for (var i = 0u; i < n; i++) { workgroupBarrier(); }",
];

/// The same with one that some may not reach.
const BAD: &[&str] = &[
    "if index >= params.N { return; } workgroupBarrier();",
    "if index < 32u { workgroupBarrier(); }",
    "if index < 32u { shares[0] = 1.0; } else { workgroupBarrier(); }",
    "if id.x < params.N && params.N > 7u { workgroupBarrier(); }",
    "if u32(data[0]) < 7u { workgroupBarrier(); }",
    "if shares[0] < 7.0 { workgroupBarrier(); }",
    "for (var i = index; i < params.N; i += 64u) { workgroupBarrier(); }",
    "for (var i = 0u; i < params.N; i++) { if i == index { break; } workgroupBarrier(); }",
    "for (var i = 0u; i < params.N; i++) { workgroupBarrier(); if i == index { break; } }",
    "for (var i = 0u; i < params.N; i++) { if i == index { continue; } workgroupBarrier(); }",
    "for (var i = 0u; i < 8u; i++) { if i == index { return; } } workgroupBarrier();",
    "loop { workgroupBarrier(); continuing { break if index < 7u; } }",
    "switch index { case 1u: { workgroupBarrier(); } default: { } }",
    "if index < 7u { shares[index] = subgroupAdd(1.0); }",
    "if index < 7u { shares[index] = subgroupBroadcast(1.0, 0u); }",
    "if subgroupAdd(1.0) < 7.0 { workgroupBarrier(); }",
    // Through variables: by value, by the branch that stores, around a loop, by a pointer.
    "var n = 0u; n = index; if n < 7u { workgroupBarrier(); }",
    "var n = 0u; if index < 7u { n = 1u; } if n == 1u { workgroupBarrier(); }",
    "var n = 0u; for (var i = 0u; i < 8u; i++) { if n == 1u { workgroupBarrier(); } n = index; }",
    "var n = 0u; writes(&n); if n == 1u { workgroupBarrier(); }",
    // Through functions: in the callee, by its argument, by its result.
    "if index < 7u { waits(); }",
    "waits_for(index);",
    "if doubled(index) > 7u { workgroupBarrier(); }",
    "if index < 7u { let n = workgroupUniformLoad(&count); shares[n] = 1.0; }",
];

#[test]
fn divergent_barriers_are_found_and_others_are_not() {
    for (bodies, expected) in [(GOOD, 0), (BAD, 1)] {
        for body in bodies {
            let source = format!(
                "struct Params {{ N: u32 }}
                @group(0) @binding(0) var<uniform> params: Params;
                @group(0) @binding(1) var<storage, read_write> data: array<f32>;
                var<workgroup> shares: array<f32, 64>;
                var<workgroup> count: u32;
                fn doubled(x: u32) -> u32 {{ return 2u * x; }}
                fn waits() {{ workgroupBarrier(); }}
                fn waits_for(x: u32) {{ if x < 7u {{ workgroupBarrier(); }} }}
                fn writes(p: ptr<function, u32>) {{ *p = u32(shares[0]); }}
                fn returns_early(x: u32) {{ if x < 7u {{ return; }} shares[x] = 0.0; }}
                @compute @workgroup_size(64)
                fn entry(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>,
                         @builtin(local_invocation_index) index: u32) {{ {body} }}"
            );
            let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{body}: {e}"));
            let found = divergent_barriers(&module, &module.entry_points[0], &source);
            assert_eq!(found.len(), expected, "{body}: {found:?}");
        }
    }
}
