//! Edits of latent points: fused pictures, attributes, styles.

use elbo::data::Dataset;
use elbo::error::{Error, Result};
use elbo::inference::Trained;
use elbo::inference::editing::{direction, explained, mix};
use serde_json::json;

use super::super::shared::{require, spread_labels};
use super::{Args, COLUMNS};

/// Draws the pictures, then the one between them.
pub fn fuse(args: &Args, model: &mut Trained) -> Result<()> {
    model.numbers()?;
    let count = args.fuse.len();
    let weights = match args.weights.is_empty() {
        true => vec![1.0 / count as f32; count],
        false => args.weights.clone(),
    };
    let problem = format!("--weights has {} numbers for {count} pictures: give one for each", weights.len());
    require(weights.len() == count && weights.iter().all(|weight| weight.is_finite()), &problem)?;
    args.picture.check([1, count + 1], "--fuse", model)?;
    let given: Vec<&str> = args.fuse.iter().map(String::as_str).collect();
    let (mut pictures, labels) = args.pictures(model, &mut None, "--fuse", &given)?;
    let [means, _] = model.encode(&pictures, labels.as_deref())?;
    // Of one label: the first picture's.
    let label = labels.map(|labels| vec![labels[0]]);
    pictures.extend(model.decode(&mix(&means, &weights), label.as_deref())?);
    let path = args.picture.write(&args.model, "fused.png", model, &pictures, count + 1)?;
    let shown: Vec<String> = weights.iter().map(f32::to_string).collect();
    let what = format!("{count} pictures, and what lies between them by weights {}", shown.join(", "));
    args.tell(&path, &what, json!({ "weights": weights }));
    Ok(())
}

/// Draws test pictures above what they become along a label.
pub fn attribute(args: &Args, model: &mut Trained, text: &str) -> Result<()> {
    let latent = model.numbers()?;
    let (name, strength) = parse(text)?;
    let data = args.open(model)?;
    let count = args.count.min(data.test.count);
    args.picture.check([2 * count.div_ceil(COLUMNS), COLUMNS.min(count)], "--count", model)?;
    let Some(own) = data.train.labels().filter(|labels| !labels.is_empty()) else {
        let problem = format!("an attribute is a label of the training pictures, and {} has none", data.name);
        return Err(Error::Usage(problem));
    };
    let number = name.parse().ok().filter(|number| own.contains(number));
    let named = data.class_names.iter().position(|class| class == name).map(|at| at as u8);
    let Some(label) = named.or(number) else {
        let known = match data.class_names.is_empty() {
            true => format!("0 to {}", own.iter().max().unwrap_or(&0)),
            false => data.class_names.join(", "),
        };
        return Err(Error::Usage(format!("no training picture has the label `{name}`: the labels are {known}")));
    };
    let [means, _] = model.encode_split(&data.train)?;
    let has = |i: usize| own[i] == label;
    let every =
        || Error::Usage(format!("every training picture has the label `{name}`: there is nothing to move from"));
    let along = direction(&means, latent, has).ok_or_else(every)?;

    let originals = data.test.spread(count);
    let own = spread_labels(model, "encode", &data, count)?;
    let [mut z, _] = model.encode(&originals, own.as_deref())?;
    for z in z.chunks_mut(latent) {
        z.iter_mut().zip(&along).for_each(|(z, along)| *z += strength * along);
    }
    let edited = model.decode(&z, own.as_deref())?;
    let sets = [("original", originals.as_slice()), ("edited", edited.as_slice())];
    let path = args.picture.write_bands(&args.model, "attribute.png", model, &sets, COLUMNS)?;
    let what = format!("{count} test pictures of {} above themselves with {name} x {strength}", data.name);
    let object = json!({ "dataset": data.name, "pictures": count, "label": name, "strength": strength });
    args.tell(&path, &what, object);
    Ok(())
}

/// A label and how far to go along it, as in `smile+1.5`. Errors: not of that form.
fn parse(text: &str) -> Result<(&str, f32)> {
    let at = text.rfind(['+', '-']).filter(|&at| at > 0);
    let parts = at.and_then(|at| Some((&text[..at], text[at..].parse::<f32>().ok().filter(|x| x.is_finite())?)));
    parts.ok_or_else(|| Error::Usage(format!("--attribute is `{text}`, but must be a label and a number, as in 7+1.5")))
}

/// Draws two pictures, and the second in the style of the first.
pub fn style(args: &Args, model: &mut Trained, given: [&str; 2]) -> Result<()> {
    let latent = model.numbers()?;
    args.picture.check([1, 3], "--style", model)?;
    let beyond = args.style_dimensions.iter().find(|&&k| k >= latent);
    let problem =
        format!("--style-dimensions has {}, but the model has dimensions 0 to {}", beyond.unwrap_or(&0), latent - 1);
    require(beyond.is_none(), &problem)?;
    let mut data = None;
    let (mut pictures, labels) = args.pictures(model, &mut data, "--style", &given)?;
    let of_style = match args.style_dimensions.is_empty() {
        false => args.style_dimensions.clone(),
        true => fitted(args, model, &mut data, latent)?,
    };
    let [means, _] = model.encode(&pictures, labels.as_deref())?;
    let (style, content) = means.split_at(latent);
    let z: Vec<f32> = (0..latent).map(|k| if of_style.contains(&k) { style[k] } else { content[k] }).collect();
    let label = labels.map(|labels| vec![labels[1]]);
    pictures.extend(model.decode(&z, label.as_deref())?);
    let path = args.picture.write(&args.model, "style.png", model, &pictures, 3)?;
    let named: Vec<String> = of_style.iter().map(usize::to_string).collect();
    let what = format!("style, content, and both; dimensions {} are style", named.join(", "));
    args.tell(&path, &what, json!({ "style_dimensions": of_style }));
    Ok(())
}

/// The half of the dimensions that the training labels explain least. A model that is told the label has nothing of it
/// in its latent point: there all are style.
fn fitted(args: &Args, model: &mut Trained, data: &mut Option<Dataset>, latent: usize) -> Result<Vec<usize>> {
    if model.classes("encode")?.is_some() {
        return Ok((0..latent).collect());
    }
    let data = args.opened(model, data)?;
    let Some(labels) = data.train.labels().filter(|labels| !labels.is_empty()) else {
        return Err(Error::Usage(format!(
            "which dimensions are style is fitted from the labels of training pictures, and {} has none: name them by \
             --style-dimensions",
            data.name
        )));
    };
    let labels: Vec<usize> = labels.iter().map(|&label| usize::from(label)).collect();
    let [means, _] = model.encode_split(&data.train)?;
    let explained = explained(&means, &labels, latent);
    let mut order: Vec<usize> = (0..latent).collect();
    order.sort_by(|&a, &b| explained[a].total_cmp(&explained[b]));
    let mut of_style = order[..latent / 2].to_vec();
    of_style.sort();
    Ok(of_style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_a_label_and_a_number() {
        assert_eq!(parse("smile+1.5").unwrap(), ("smile", 1.5));
        assert_eq!(parse("7-1").unwrap(), ("7", -1.0));
        assert_eq!(parse("well-lit-0.5").unwrap(), ("well-lit", -0.5));
        for text in ["smile", "+1", "smile+", "7+x", "7+inf"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
